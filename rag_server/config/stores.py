"""Settings of the stores: where everything is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from rag_server.config.group import MEBIBYTE, Group


class StorageSettings(Group):
    """Where the embedded server keeps its state."""

    data_dir: Path = Path("data")
    """Folder of the database, the vectors and the uploaded bytes; made when missing. One server at a time."""
    max_document_bytes: Annotated[int, Field(ge=1024)] = 100 * MEBIBYTE
    """Largest document by any way in, in bytes."""
    blob_url: str = ""
    """`s3://BUCKET/PREFIX` for the uploaded bytes (needs the extra `s3`; credentials as for any AWS client);
    empty: a folder in the data folder."""
    blob_endpoint: str = ""
    """`http://host:port` of another S3 service, such as MinIO; empty: that of AWS."""
    blob_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest time to read or write one document in S3, in seconds."""

    @field_validator("blob_url")
    @classmethod
    def _check_blob_url(cls, url: str) -> str:
        bucket = url.removeprefix("s3://").partition("/")[0]
        if url and (not url.startswith("s3://") or not bucket or "@" in bucket):
            raise ValueError("has to be s3://BUCKET or s3://BUCKET/PREFIX")
        return url


class DatabaseSettings(Group):
    """The relational database: collections, documents, jobs."""

    url: SecretStr = SecretStr("")
    """`sqlite+aiosqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`; empty: a
    SQLite file in the data folder. Never logged."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Connections to PostgreSQL for writing, and as many again for reading."""
    pool_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait for one of these connections, in seconds."""
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Longest time to connect to PostgreSQL, in seconds."""
    statement_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Time after which PostgreSQL gives up a statement, in seconds."""
    lock_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait in PostgreSQL for a lock that another call holds, in seconds."""

    @property
    def is_shared(self) -> bool:
        """Whether other servers may work on it, too: it is not in this one's data folder."""
        return bool(self.url.get_secret_value())

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        value = url.get_secret_value()
        if not value or value.startswith("sqlite+aiosqlite:///"):
            return url
        if not value.startswith("postgres"):
            raise ValueError("has to be sqlite+aiosqlite:///FILE or postgresql://USER@HOST/DATABASE")
        from rag_server.metadata.postgres import normalised_url

        return SecretStr(normalised_url(value))


class MilvusSettings(Group):
    """The vector and chunk store."""

    uri: str = ""
    """`http://host:port` of a Milvus server (experimental); empty: Milvus Lite in the data folder."""
    token: SecretStr = SecretStr("")
    """`user:password` or API key of a Milvus server; never logged."""
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest wait for one operation, in seconds."""
