"""The contract's sources as descriptors with their comments, and the fixed forms in the comments.

protoc keeps comments only in descriptors that are made with source information, so the sources are
compiled here once per test process; the generated stubs do not carry them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]  # ships no types
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from rag_server.validation.constraint import (
    Constraint,
    Default,
    Items,
    Length,
    OutputOnly,
    Pattern,
    Range,
    Required,
    Size,
)

PROTOS = Path(__file__).parents[2] / "protos"

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_END = r"\.(?=\s|$)"
FORMS: dict[type, re.Pattern[str]] = {
    Required: re.compile(rf"\bRequired{_END}"),
    Range: re.compile(rf"\bRange: {_NUMBER} to {_NUMBER}{_END}"),
    Default: re.compile(rf"\bDefault: {_NUMBER}{_END}"),
    Length: re.compile(rf"\bLength: (\d+) to (\d+) code points{_END}"),
    Items: re.compile(rf"\bItems: (\d+) to (\d+){_END}"),
    Size: re.compile(rf"\bSize: (\d+) to (\d+) bytes{_END}"),
    Pattern: re.compile(rf"\bPattern: `([^`]+)`{_END}"),
    OutputOnly: re.compile(r"\bOutput only(?:\.(?=\s|$)|:)"),
}
"""How each kind of constraint is written."""

_ATTEMPTS = re.compile(
    r"(?i:\b(?:range|default|length|items|size|pattern)\s*[:=])"
    r"|\b(?:Range|Default|Length|Items|Size|Pattern)\s+[-\d`]"
    r"|(?i:\brequired)\s*[.:;!]"
    r"|(?i:\boutput[ -]?only)\b"
)
"""What somebody meant as one of the forms."""


@dataclass(frozen=True)
class Element:
    """Something that has a name and a comment."""

    kind: str
    """`message`, `field`, `oneof`, `enum`, `value`, `service` or `rpc`."""
    owner: str
    """Full name of the message, enum or service that it stands in; of the package at the top."""
    name: str
    comment: str
    """On one line; empty when there is none."""

    @property
    def full_name(self) -> str:
        return f"{self.owner}.{self.name}"


def constraints_in(comment: str) -> list[Constraint]:
    """Return the constraints that a comment states."""
    found: list[Constraint] = []
    for kind, form in FORMS.items():
        for match in form.finditer(comment):
            groups = match.groups()
            found.append(kind(*groups) if kind is Pattern else kind(*map(_number, groups)))
    return found


def near_misses_in(comment: str) -> list[str]:
    """Return what looks like a constraint and is not in its fixed form."""
    starts = {match.start() for form in FORMS.values() for match in form.finditer(comment)}
    return [
        comment[match.start() : match.start() + 40]
        for match in _ATTEMPTS.finditer(comment)
        if match.start() not in starts
    ]


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


@cache
def files() -> tuple[FileDescriptorProto, ...]:
    """Compile the contract."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "contract.binpb"
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{well_known}",
                "--include_source_info",
                f"--descriptor_set_out={out}",
                *sources,
            ]
        )
        assert status == 0, "protoc failed"
        return tuple(FileDescriptorSet.FromString(out.read_bytes()).file)


@cache
def elements() -> tuple[Element, ...]:
    """Return every element of the contract, in the order of the files."""
    return tuple(element for file in files() for element in _elements_of(file))


def _elements_of(file: FileDescriptorProto) -> Iterator[Element]:
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }

    def element(kind: str, owner: str, name: str, *path: int) -> Element:
        return Element(kind, owner, name, comments.get(path, ""))

    def message_elements(message: DescriptorProto, owner: str, *path: int) -> Iterator[Element]:
        yield element("message", owner, message.name, *path)
        full_name = f"{owner}.{message.name}"
        for index, field in enumerate(message.field):
            yield element("field", full_name, field.name, *path, 2, index)
        synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
        for index, oneof in enumerate(message.oneof_decl):
            if index not in synthetic:
                yield element("oneof", full_name, oneof.name, *path, 8, index)
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from message_elements(nested, full_name, *path, 3, index)
        assert not message.enum_type, "enums stand at the top of a file"

    # The numbers are those of descriptor.proto: they make up the paths of source_code_info.
    for index, message in enumerate(file.message_type):
        yield from message_elements(message, file.package, 4, index)
    for index, enum in enumerate(file.enum_type):
        yield element("enum", file.package, enum.name, 5, index)
        for number, value in enumerate(enum.value):
            yield element("value", f"{file.package}.{enum.name}", value.name, 5, index, 2, number)
    for index, service in enumerate(file.service):
        yield element("service", file.package, service.name, 6, index)
        for number, method in enumerate(service.method):
            yield element("rpc", f"{file.package}.{service.name}", method.name, 6, index, 2, number)
