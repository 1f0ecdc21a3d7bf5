"""Where sound is kept as objects: a folder, S3, Google's or Azure's storage, or memory."""
