"""ragctl: the command line of rag-server. An ordinary client: everything goes through gRPC."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rag-server")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"

__all__ = ["__version__"]
