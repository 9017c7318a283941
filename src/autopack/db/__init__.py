"""The database: one engine per process, one schema made by Alembic, repositories that return domain values."""
