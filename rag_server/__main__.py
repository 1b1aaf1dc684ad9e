"""`python -m rag_server`: read the settings, serve until SIGTERM or SIGINT, exit (`rag_server.process`)."""

from __future__ import annotations

import sys

from rag_server.process import Running, run


def _load() -> Running:
    from rag_server.app import running_server

    return running_server


def main() -> int:
    """Run the server; return the exit code."""
    return run(_load)


if __name__ == "__main__":
    sys.exit(main())
