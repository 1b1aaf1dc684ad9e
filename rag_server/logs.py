"""Structured logs on standard error: for people (`console`) or machines (`json`)."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TextIO

import structlog

from rag_server.config import LogSettings


class _WithoutText(logging.Handler):
    """Says in our log that a library has logged, and where; its text may hold what callers sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        error = type(record.exc_info[1]).__qualname__ if record.exc_info and record.exc_info[1] else None
        place = f"{record.pathname}:{record.lineno}"
        write("library logged", logger=record.name, severity=record.levelname, place=place, error=error)


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog for this process, and keep libraries' own logging to warnings."""
    out = stream or sys.stderr
    renderer: structlog.typing.Processor
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.MaybeTimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_WithoutText()], force=True)
    logging.getLogger("trafilatura").setLevel(logging.ERROR)  # it warns of every page that it cannot read


def where_raised(error: BaseException) -> list[str]:
    """Return where an exception came from, innermost last: type, then file, line and function.

    Never its text, which may hold a secret (a database URL, say) or a caller's content.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    return [type(error).__qualname__, *places]
