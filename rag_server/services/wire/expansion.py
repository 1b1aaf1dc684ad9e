"""Expansion and rewriting: how a request asks for them, and what it is told of them."""

from __future__ import annotations

from rag.v1 import expansion_pb2 as pb
from rag.v1 import options_pb2
from rag_server.domain.expansion import (
    Decomposition,
    ExpansionMethod,
    Hyde,
    MultiQuery,
    QueryExpansion,
    SearchedWith,
)
from rag_server.domain.rewriting import ModelRewriting, NoRewriting, Rewriting, RulesRewriting
from rag_server.validation.defaults import value_or_default


def from_expansion(options: options_pb2.GenerationOptions) -> QueryExpansion | None:
    """Return what is asked for, with its defaults filled in; None: nothing."""
    if not options.HasField("expansion"):
        return None
    return QueryExpansion(_from_method(options.expansion), options.expansion.model)


def _from_method(message: pb.QueryExpansion) -> ExpansionMethod:
    match message.WhichOneof("method"):
        case "hyde":
            return Hyde(value_or_default(message.hyde, "passage_count"))
        case "decomposition":
            return Decomposition(value_or_default(message.decomposition, "max_query_count"))
        case _:
            return MultiQuery(value_or_default(message.multi_query, "query_count"))


def from_rewriting(options: options_pb2.GenerationOptions) -> Rewriting | None:
    """Return who is to rewrite the question; None: the request leaves it to the server."""
    match options.rewriting.WhichOneof("method"):
        case "none":
            return NoRewriting()
        case "rules":
            return RulesRewriting()
        case "model":
            return ModelRewriting(options.rewriting.model.model)
        case _:
            return None


def to_searched(searched: SearchedWith | None) -> pb.SearchedWith | None:
    """Return what was searched with as a message; None: the question alone."""
    if searched is None:
        return None
    return pb.SearchedWith(queries=searched.queries, passages=searched.passages, model=searched.model)
