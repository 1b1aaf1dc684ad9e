"""The metadata store: what exists, for whom, in which revision. Rows never leave this package."""

from rag_server.metadata.database import Database, Transaction

__all__ = ["Database", "Transaction"]
