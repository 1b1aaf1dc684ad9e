"""Answers made of quotes: sentences of the sources, word for word, each with its citation."""

from rag_server.backends.extractive.generator import ExtractiveGenerator
from rag_server.backends.extractive.statistics import TermStatistics

__all__ = ["ExtractiveGenerator", "TermStatistics"]
