"""`ragctl analyze` and `ragctl embed`: what the server makes of a text."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.v1.retrieve_service_pb2 import AnalyzeRequest, EmbedRequest, TokenKind
from rag.v1.retrieve_service_pb2_grpc import RetrieveServiceStub
from ragctl.errors import CommandFailed
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import one_line
from ragctl.session import Session

DEFAULT_LANGUAGE = "mul"
VALUES_SHOWN = 6
TEXT_SHOWN = 40


@command
def analyze(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text.")],
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Analyse as this collection does.")
    ] = "",
    language: Annotated[str, typer.Option("--language", "-l", help="Analyse by this language's rules.")] = "",
) -> None:
    """Show what the lexical analyser makes of a text, step by step. Without an option: language `mul`."""
    if collection and language:
        raise CommandFailed.for_usage("--collection and --language exclude each other")
    request = AnalyzeRequest(text=text)
    if collection:
        request.collection_id = collection
    else:
        request.language = language or DEFAULT_LANGUAGE
    stub = RetrieveServiceStub(session.channel)
    response = stub.Analyze(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    names = dict(zip(TokenKind.values(), TokenKind.keys(), strict=True))
    session.output.table(
        ("token", "span", "kind", "normalized", "stop word", "stem", "lexeme"),
        [
            (
                each.surface,
                f"{each.span.start}-{each.span.end}",
                names.get(each.kind, str(int(each.kind))).removeprefix("TOKEN_KIND_").lower(),
                each.normalized,
                "yes" if each.is_stop_word else "",
                each.stem,
                each.lexeme if each.HasField("lexeme") else "(dropped)",
            )
            for each in response.tokens
        ],
    )
    session.output.line(f"language {response.language}; lexemes: {' '.join(response.lexemes)}")


@command
def embed(
    session: Session,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="The texts.")],
) -> None:
    """Show the vectors of texts; --json has them whole."""
    stub = RetrieveServiceStub(session.channel)
    response = stub.Embed(EmbedRequest(texts=texts), timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    session.output.table(
        ("text", ">tokens", ">dimension", "values"),
        [
            (
                one_line(text)[:TEXT_SHOWN],
                str(each.token_count),
                str(len(each.values)),
                " ".join(f"{value:+.4f}" for value in each.values[:VALUES_SHOWN]) + " ...",
            )
            for text, each in zip(texts, response.embeddings, strict=False)
        ],
    )
    session.output.line(f"model {response.model}; server time {shown_timings(response.timings)}", style="dim")
