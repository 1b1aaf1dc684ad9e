"""`ragctl analyze`, `embed`, `rerank` and `count-tokens`: what the server makes of a text."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.v1.generate_service_pb2 import CountTokensRequest
from rag.v1.generate_service_pb2_grpc import GenerateServiceStub
from rag.v1.retrieve_service_pb2 import AnalyzeRequest, EmbedRequest, RerankRequest, TokenKind
from rag.v1.retrieve_service_pb2_grpc import RetrieveServiceStub
from rag.v1.retrieved_chunk_pb2 import ScoreScale
from ragctl.errors import CommandFailed
from ragctl.moments import shown_timings
from ragctl.options import command
from ragctl.output import enum_name, one_line
from ragctl.ranking_options import RerankMethod, rerank_by
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


@command
def rerank(
    session: Session,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or key words.")],
    passages: Annotated[list[str], typer.Argument(metavar="PASSAGE...", help="The texts to order.")],
    method: Annotated[
        RerankMethod | None, typer.Option("--method", "-m", help="late-interaction without it.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", help="The greatest number of passages; all without it.")
    ] = None,
) -> None:
    """Order passages by how well they answer a query."""
    request = RerankRequest(query=query, passages=passages, top_k=top_k)
    if method is not None:
        request.rerank.CopyFrom(rerank_by(method))
    stub = RetrieveServiceStub(session.channel)
    response = stub.Rerank(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    session.output.table(
        (">#", ">score", ">given as", "passage"),
        [
            (str(rank), f"{each.score:.4f}", str(each.index + 1), one_line(passages[each.index]))
            for rank, each in enumerate(response.passages, start=1)
            if 0 <= each.index < len(passages)
        ],
    )
    scale = enum_name(ScoreScale, response.score_scale)
    session.output.line(f"score scale: {scale}; server time {shown_timings(response.timings)}", style="dim")


@command
def count_tokens(
    session: Session,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="The texts.")],
    model: Annotated[
        str, typer.Option("--model", help="Name or alias of a model; the server's default without it.")
    ] = "",
) -> None:
    """Count the tokens of texts as a model does."""
    request = CountTokensRequest(texts=texts, model=model)
    response = GenerateServiceStub(session.channel).CountTokens(request, timeout=session.unary_timeout_s)
    if session.output.is_json:
        session.output.document(response)
        return
    session.output.table(
        (">tokens", "text"),
        [
            (str(count), one_line(text)[:TEXT_SHOWN])
            for text, count in zip(texts, response.token_counts, strict=False)
        ],
    )
    facts = [f"model {one_line(response.model)}"]
    if response.HasField("window_tokens"):
        facts.append(f"window {response.window_tokens} tokens")
    if response.is_estimated:
        facts.append("estimated, too high rather than too low: the server does not have its tokenizer")
    session.output.line("; ".join(facts), style="dim")
