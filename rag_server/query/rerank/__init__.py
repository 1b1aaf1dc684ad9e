"""Rerankers: the role, and the methods that need no model of their own."""
