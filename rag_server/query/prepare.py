"""Makes of a request what the engines are asked: checked, read and analysed, once per language."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rag_server.backends.protocols import EmbeddingModel
from rag_server.domain.collection import Collection
from rag_server.domain.lexical import LexicalQuery
from rag_server.domain.retrieval import QuerySyntax, RetrievalRequest
from rag_server.domain.time_limit import TimeLimit
from rag_server.errors import FieldViolation, InvalidArgument, NotFound
from rag_server.query.field_paths import FieldPaths
from rag_server.query.filtering import check_filter
from rag_server.query.read_your_writes import Directory, reach
from rag_server.query.syntax import parse, to_lexical
from rag_server.text.analyzer import Analyzer
from rag_server.timing import Stopwatch

PATIENCE_S: Final = 10.0
"""How long a caller who set no deadline waits for a revision."""


@dataclass(frozen=True, slots=True)
class Query:
    """A request that was found to be answerable."""

    tenant_id: str
    request: RetrievalRequest
    collections: Sequence[Collection]
    text: str
    """What is embedded: the query without operators."""
    lexical: Mapping[str, LexicalQuery]
    """By language of the collections."""
    limit: TimeLimit | None
    """None: the call has all the time."""
    watch: Stopwatch

    @property
    def wants_dense(self) -> bool:
        """Whether the vector leg is asked."""
        return self.request.fusion.dense_weight > 0 and bool(self.text)

    @property
    def wants_lexical(self) -> bool:
        """Whether the BM25 leg is asked, if the query has lexemes."""
        return self.request.fusion.lexical_weight > 0

    @property
    def has_lexemes(self) -> bool:
        """Whether the BM25 leg has something to look for."""
        return self.wants_lexical and any(each.terms for each in self.lexical.values())

    @property
    def count(self) -> int:
        """Candidates per leg."""
        return max(self.request.candidate_count, self.request.top_k)

    def time_left_s(self) -> float | None:
        """Return what is left of the call's time; None: no end."""
        return None if self.limit is None else self.limit.left_s()


class Preparer:
    """Prepares requests."""

    def __init__(
        self,
        directory: Directory,
        model: EmbeddingModel,
        analyzer_for: Callable[[str], Analyzer],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._directory = directory
        self._model = model
        self._analyzer_for = analyzer_for
        self._patience_s = patience_s

    async def prepare(
        self, tenant_id: str, request: RetrievalRequest, paths: FieldPaths, limit: TimeLimit | None
    ) -> Query:
        """Check `request`; `paths` is where its parts stand in the call, which errors name.

        Raises `NotFound`, `InvalidArgument` and `FailedPrecondition`.
        """
        watch = Stopwatch()
        collections = await self._collections(tenant_id, request, paths, limit)
        if request.filter is not None:
            check_filter(request.filter, collections, path=paths.filter)
        with watch.stage("analyze"):
            parsed = parse(request.query, request.syntax)
            lexical = {
                language: to_lexical(parsed, self._analyzer_for(language))
                for language in {collection.language for collection in collections}
            }
        query = Query(tenant_id, request, collections, parsed.text, lexical, limit, watch)
        if not query.wants_dense and not query.has_lexemes:
            raise InvalidArgument(
                "QUERY_HAS_NO_TERMS",
                f"{paths.query}: has nothing to look for with the legs that are on: "
                "only exclusions, stop words or signs",
                violations=[FieldViolation(paths.query, "has no term to search for")],
            )
        return query

    def variants(self, query: Query) -> list[Query]:
        """Return what the request adds to the question, as queries of their own.

        Phrases and exclusions of the question hold for them too. One that has nothing to look for, since it
        consists of stop words or signs, is left out. Each has a watch of its own.
        """
        expanded = query.request.expanded
        if expanded is None:
            return []
        made = []
        for text in expanded.queries:
            parsed = parse(text, QuerySyntax.PLAIN)
            lexical = {
                language: replace(
                    to_lexical(parsed, self._analyzer_for(language)),
                    phrases=asked.phrases,
                    excluded=asked.excluded,
                )
                for language, asked in query.lexical.items()
            }
            request = replace(query.request, query=text, expanded=None)
            variant = replace(query, request=request, text=parsed.text, lexical=lexical, watch=Stopwatch())
            if variant.has_lexemes if variant.wants_lexical else variant.wants_dense:
                made.append(variant)
        return made

    async def _collections(
        self, tenant_id: str, request: RetrievalRequest, paths: FieldPaths, limit: TimeLimit | None
    ) -> list[Collection]:
        try:
            collections = await self._directory.get_collections(tenant_id, request.collection_ids)
        except NotFound as error:
            index = request.collection_ids.index(error.metadata["id"])
            raise error.in_field(f"{paths.collection_ids}[{index}]") from None
        for collection in collections:
            self._model.check_embeds(collection)
        wanted = dict(request.min_revisions)
        end = time.monotonic() + self._patience_s
        if limit is not None:
            end = limit.end if limit.is_callers else min(end, limit.end)
        return [
            await reach(self._directory, collection, wanted.get(collection.id, 0), end=end)
            for collection in collections
        ]
