"""Analysed tokens."""

from __future__ import annotations

from rag.v1 import retrieve_service_pb2 as pb
from rag_server.services.wire.chunk import to_span
from rag_server.text.analyzer import AnalyzedToken
from rag_server.text.tokens import TokenKind

_KINDS = {
    TokenKind.WORD: pb.TOKEN_KIND_WORD,
    TokenKind.NUMBER: pb.TOKEN_KIND_NUMBER,
    TokenKind.CODE: pb.TOKEN_KIND_CODE,
}


def to_token(token: AnalyzedToken) -> pb.AnalyzedToken:
    """Return a token with each step it went through."""
    return pb.AnalyzedToken(
        surface=token.surface,
        span=to_span(token.span),
        kind=_KINDS[token.kind],
        normalized=token.normalized,
        is_stop_word=token.is_stop_word,
        stem=token.stem,
        lexeme=token.lexeme,
    )
