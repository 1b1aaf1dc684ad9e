"""Thin servicers: from proto to domain, one call into a use case, back to proto."""
