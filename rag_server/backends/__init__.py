"""Roles (`protocols`) and their adapters, one per file or folder."""
