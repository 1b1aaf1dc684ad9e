"""rag-server: ingest documents, retrieve passages, answer with citations, over gRPC."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rag-server")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"

__all__ = ["__version__"]
