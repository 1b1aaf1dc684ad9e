"""Roles (`protocols.py`) and their adapters, one per file or folder."""
