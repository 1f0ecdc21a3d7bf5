"""Database access: connections, schema, migrations, pagination."""
