from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from rag_server.config import LogSettings
from rag_server.logs import configure_logs, where_raised


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give structlog and logging back as they were."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


def logged(**settings: Any) -> tuple[structlog.typing.FilteringBoundLogger, io.StringIO]:
    out = io.StringIO()
    configure_logs(LogSettings(**settings), out)
    return structlog.get_logger(), out


def test_json_log_is_one_object_per_line_with_context() -> None:
    log, out = logged(format="json")
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.info("call", method="/x", text="ñandú\nlínea")
    log.warning("second")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["event"] == "call"
    assert first["level"] == "info"
    assert first["request_id"] == "r-1"
    assert first["text"] == "ñandú\nlínea"
    assert first["timestamp"].endswith("Z")
    assert "request_id" not in second
    assert "ñandú" in out.getvalue()


def test_console_log_has_no_colours_when_nobody_looks() -> None:
    log, out = logged(format="console")
    log.info("call", method="/x")
    assert "method=/x" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_log_below_the_level_is_not_written() -> None:
    log, out = logged(format="json", level="WARNING")
    log.info("quiet")
    log.error("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_library_logs_are_told_of_from_warnings_on_and_without_their_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # pytest's own; `force` would close them
    monkeypatch.setattr(root, "level", root.level)
    _, out = logged(format="json")
    logging.getLogger("some.package").info("chatter")
    logging.getLogger("some.package").warning("trouble with %s", "hunter2")
    event = json.loads(out.getvalue())
    assert event["event"] == "library logged"
    assert (event["logger"], event["severity"]) == ("some.package", "WARNING")
    assert "hunter2" not in out.getvalue()


def test_where_raised_gives_type_and_places_and_no_text() -> None:
    def inner() -> None:
        raise ValueError("postgresql://rag:hunter2@db")

    with pytest.raises(ValueError, match="hunter2") as caught:
        inner()
    where = where_raised(caught.value)
    assert where[0] == "ValueError"
    assert where[-1].endswith(" inner")
    assert "hunter2" not in " ".join(where)


def test_where_raised_without_traceback_is_the_type() -> None:
    assert where_raised(KeyError("secret")) == ["KeyError"]
