"""The HTTP server: uvicorn with limits, draining and worker processes."""
