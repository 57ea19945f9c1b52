"""Store and forward in SQLite."""
