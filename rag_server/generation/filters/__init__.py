"""Filters: what may not come in with a question, nor go out with an answer. One kind per file."""
