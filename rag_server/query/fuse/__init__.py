"""Fusion: one ranking from the legs' candidates. One algorithm per file."""
