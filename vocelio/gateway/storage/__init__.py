"""Object storage: a directory, S3, Google Cloud Storage, Azure Blob Storage, or memory."""
