"""Answers in a form that the caller asks for: JSON by a schema, a text by a regular expression, a choice."""
