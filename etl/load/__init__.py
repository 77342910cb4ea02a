"""Keeping the inventory in DuckDB, and publishing it."""
