"""The file system of S3 and of what speaks its protocol, through s3fs (the extra `s3`)."""

from __future__ import annotations

from fsspec import AbstractFileSystem, get_filesystem_class

from rag_server.errors import Unavailable

_CONNECT_TIMEOUT_S = 5.0
_ATTEMPTS = 3


def s3_file_system(*, endpoint: str = "", timeout_s: float = 60.0) -> AbstractFileSystem:
    """Return the file system of AWS, or of another service at `endpoint` (`http://host:port`).

    Credentials are found as by any AWS client: variables, files, or the machine's role. Nothing is asked of
    the service yet. Raises `Unavailable` (`BLOB_STORE_UNAVAILABLE`) where s3fs is not installed.
    """
    try:
        file_system = get_filesystem_class("s3")
    except ImportError as error:
        raise Unavailable(
            "BLOB_STORE_UNAVAILABLE",
            "RAG_STORAGE__BLOB_URL asks for S3, which needs s3fs: install rag-server with the extra `s3`",
        ) from error
    return file_system(
        endpoint_url=endpoint or None,
        # what another server writes is seen at once; what this one has closed is not handed out again
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": timeout_s / _ATTEMPTS,
            "retries": {"max_attempts": _ATTEMPTS, "mode": "standard"},
        },
    )
