"""`python -m ingest_worker`: work on jobs until SIGTERM or SIGINT, then drain (see `rag_server.process`)."""

from __future__ import annotations

import sys

from rag_server.process import Running, run


def _load() -> Running:
    from rag_server.app_worker import running_worker

    return running_worker


def main() -> int:
    """Run the worker; return the exit code."""
    return run(_load)


if __name__ == "__main__":
    sys.exit(main())
