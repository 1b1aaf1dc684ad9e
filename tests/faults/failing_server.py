"""A server in which everything breaks with a secret in the exception: `python failing_server.py SECRET`."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from ingest_worker.sandbox.pool import ParserPool
from rag_server.__main__ import main
from rag_server.backends.onnx.session import EmbeddingSession
from rag_server.ingest.expire import Expirer
from rag_server.query.pipeline import Retrieval


def break_all(secret: str) -> None:
    """Let a query, an embedding, a parser and a background task raise `secret`."""

    def fail(*_arguments: Any, **_options: Any) -> NoReturn:
        try:
            raise OSError(2, "inner", f"/{secret}")  # noqa: TRY301 - a cause with a traceback
        except OSError as error:
            raise RuntimeError(f"postgresql://user:{secret}@host") from error

    run = EmbeddingSession.run

    def run_once(*arguments: Any) -> Any:
        """Let the run that warms the model pass."""
        setattr(EmbeddingSession, "run", fail)  # noqa: B010 - a replacement, not an assignment
        return run(*arguments)

    setattr(EmbeddingSession, "run", run_once)  # noqa: B010
    for owner, name in (
        (Retrieval, "retrieve"),
        (Retrieval, "retrieve_batch"),
        (Expirer, "expire"),
        (ParserPool, "parse"),
    ):
        setattr(owner, name, fail)


if __name__ == "__main__":
    break_all(sys.argv[1])
    sys.exit(main())
