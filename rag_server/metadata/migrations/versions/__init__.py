"""One file per schema version. A released one never changes."""
