"""Assistants at work: which one a question gets, and what the request becomes with it."""
