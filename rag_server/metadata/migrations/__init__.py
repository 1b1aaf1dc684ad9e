"""Alembic's environment and the migrations, oldest first."""

HEAD = "0010"
"""The schema version that this code reads and writes: the last migration's. Revisions are numbers of
four digits, so they compare as they follow each other."""
