"""The --site folder: one tenant's settings, flows and sounds as files."""
