"""The reasons in the code and those of the contract are the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.v1 import error_reason_pb2
from tests.contract.proto_source import files

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for package in ("rag_server", "ingest_worker")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "testing" not in path.relative_to(ROOT).parts
]
RAISERS = frozenset(
    {
        "InvalidArgument",
        "NotFound",
        "AlreadyExists",
        "FailedPrecondition",
        "Aborted",
        "ResourceExhausted",
        "Unavailable",
        "DeadlineExceeded",
        "Internal",
        "JobError",
        "Excess",  # a limit of filters, which the validator turns into an InvalidArgument
    }
)
CARRIERS = {"ModelRole": slice(1, 3), "FormUnusable": slice(2, 3)}
"""Classes that carry reasons to where they are raised, and at which places of their arguments."""

CARRIERS_BY_NAME = {"ExportKind": "reason"}
"""Likewise, and the keyword."""

PREFIX = "ERROR_REASON_"
INDIRECT = frozenset(
    {
        "rag_server/errors.py",  # for_field and for_resource, both looked at where they are called
        "rag_server/validation/validator.py",  # the reason of a report: of Excess, or INVALID_REQUEST
        "rag_server/metadata/codecs.py",  # reads back what was written
        "rag_server/services/wire/job.py",  # shows what a job holds
        "rag_server/backends/onnx/cache.py",  # the reason of its ExportKind, one of CARRIERS_BY_NAME
        "rag_server/backends/onnx/source.py",  # likewise
        "rag_server/backends/onnx/loading.py",  # likewise
        "rag_server/backends/onnx/worker.py",  # the reasons of its ModelRole, one of CARRIERS
        "ingest_worker/consumer.py",  # a job's error takes over the reason of what was raised
        "rag_server/metadata/parents.py",  # of an archive that is not whole, what was the first in it
        "ingest_worker/items/hand_in.py",  # likewise, for an item
        "rag_server/generation/output/forms.py",  # the reason of a FormUnusable, one of CARRIERS
        "ingest_worker/crawl/spec.py",  # names the field of what `normalize_url` raises
    }
)
"""Files where a reason is handed on rather than named."""

IN_CONTRACT = {
    name.removeprefix(PREFIX)
    for name in error_reason_pb2.ErrorReason.keys()[1:]  # 0 is UNSPECIFIED
}


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        target: ast.expr | None = None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield target.id, value.value


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
CONSTANTS = {name: value for tree in TREES.values() for name, value in constants(tree)}


def reason_argument(call: ast.Call) -> ast.expr | str | None:
    """Return the reason that a call names; None: the call raises nothing."""
    function = call.func
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if isinstance(function, ast.Attribute) and function.attr == "for_field":
        return keywords.get("reason", "INVALID_REQUEST")
    if isinstance(function, ast.Attribute) and function.attr == "for_resource":
        kind = call.args[0]
        assert isinstance(kind, ast.Constant), "the kind of resource has to be a literal"
        return f"{str(kind.value).upper()}_NOT_FOUND"
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in RAISERS and (call.args or "reason" in keywords):
        return keywords.get("reason") or call.args[0]
    return None


def carried_reasons(call: ast.Call) -> Iterator[str]:
    """Yield the reasons in the arguments of a call that makes a carrier; None stands for no reason."""
    name = getattr(call.func, "id", "")
    for keyword in call.keywords:
        if keyword.arg is not None and keyword.arg == CARRIERS_BY_NAME.get(name):
            assert isinstance(keyword.value, ast.Constant), "the reasons of a carrier have to be literals"
            yield str(keyword.value.value)
    places = CARRIERS.get(name)
    if places is None:
        return
    assert not call.keywords, "the arguments of a carrier stand in their places"
    for argument in call.args[places]:
        assert isinstance(argument, ast.Constant), "the reasons of a carrier have to be literals"
        if argument.value is not None:
            yield str(argument.value)


def reasons_in(tree: ast.Module, path: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        yield from carried_reasons(node)
        argument = reason_argument(node)
        if argument is None:
            continue
        if isinstance(argument, ast.Constant):
            argument = str(argument.value)
        elif isinstance(argument, ast.Name) and argument.id in CONSTANTS:
            argument = CONSTANTS[argument.id]
        if isinstance(argument, str):
            yield argument
        else:
            assert path in INDIRECT, f"{path}:{node.lineno}: the reason is neither literal nor constant"


RAISED = {
    reason: path.relative_to(ROOT).as_posix()
    for path, tree in TREES.items()
    for reason in reasons_in(tree, path.relative_to(ROOT).as_posix())
}


def test_scan_finds_reasons_of_every_kind() -> None:
    examples = """
InvalidArgument("A_LITERAL", "x")
errors.Unavailable("AN_ATTRIBUTE", "x")
InvalidArgument.for_field("f", "d", reason="A_FIELD")
InvalidArgument.for_field("f", "d")
NotFound.for_resource("shelf", name)
JobError(reason="A_KEYWORD", message="x")
ModelRole("noun", "A_CARRIED", None)
print("NOT_A_REASON")
"""
    assert set(reasons_in(ast.parse(examples), "example.py")) == {
        "A_LITERAL",
        "AN_ATTRIBUTE",
        "A_FIELD",
        "INVALID_REQUEST",
        "SHELF_NOT_FOUND",
        "A_KEYWORD",
        "A_CARRIED",
    }


@pytest.mark.parametrize("reason", sorted(RAISED))
def test_reason_that_is_raised_is_in_the_contract(reason: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", reason)
    assert reason in IN_CONTRACT, f"{RAISED[reason]} raises {reason}"


@pytest.mark.parametrize("reason", sorted(IN_CONTRACT))
def test_reason_of_the_contract_is_raised_somewhere(reason: str) -> None:
    assert reason in RAISED or reason in CONSTANTS.values()


@pytest.mark.parametrize("reason", sorted(IN_CONTRACT))
def test_reason_of_the_contract_has_a_comment_with_its_status(reason: str) -> None:
    text = (ROOT / "protos/rag/v1/error_reason.proto").read_text(encoding="utf-8")
    comment = re.search(rf"((?:  //.*\n)+)  {PREFIX}{reason} = \d+;", text)
    assert comment is not None
    words = " ".join(line.strip().removeprefix("//").strip() for line in comment[1].splitlines())
    assert re.match(rf"{PREFIX}{reason} \([A-Z_]+[^)]*\): \S", words)
    assert any(file.name.endswith("error_reason.proto") for file in files())
