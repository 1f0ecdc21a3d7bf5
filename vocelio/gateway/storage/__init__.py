"""Object storage: a folder, S3, Google Cloud Storage, Azure, or memory."""
