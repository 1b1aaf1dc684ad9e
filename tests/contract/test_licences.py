"""Only permissive dependencies: none that the server installs is under the GPL or AGPL alone."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

COPYLEFT = re.compile(r"\b(A?GPL|GNU (AFFERO )?GENERAL PUBLIC)", re.IGNORECASE)


def installed_dependencies() -> dict[str, Distribution]:
    """Return what rag-server needs at run time, directly and indirectly, as installed here."""
    found: dict[str, Distribution] = {}
    waiting = ["rag-server"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another platform or an extra
            continue
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower().replace("_", "-"))
    return found


def licences(package: Distribution) -> list[str]:
    """Return the licences that a package offers; any one of them may be chosen."""
    metadata = package.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return re.split(r"\s+OR\s+", expression)
    classified = [
        each.rpartition("::")[2].strip()
        for each in metadata.get_all("Classifier") or []
        if each.startswith("License ::")
    ]
    return classified or [(metadata.get("License") or "").split("\n")[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GPL-3.0-only", True),
        ("AGPL-3.0-or-later", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("LGPL-2.1-or-later", False),
        ("MIT", False),
    ],
)
def test_copyleft_pattern_knows_the_strong_licences(text: str, expected: bool) -> None:
    assert bool(COPYLEFT.search(text)) is expected


def test_dependencies_offer_a_permissive_licence() -> None:
    packages = installed_dependencies()
    assert len(packages) > 30
    refused = {
        name: licences(package)
        for name, package in packages.items()
        if all(COPYLEFT.search(each) for each in licences(package))
    }
    assert refused == {}
