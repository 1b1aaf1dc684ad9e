"""`ragctl doctor`: looks at the machine, the data folder and the server, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ragctl.exit_codes import ExitCode
from ragctl.findings import Finding, Level
from ragctl.machine_checks import (
    available_memory_bytes,
    check_memory,
    check_model,
    check_packages,
    check_python,
    default_model_cache,
    required_packages,
)
from ragctl.options import command
from ragctl.output import printable
from ragctl.server_checks import check_server, check_services
from ragctl.session import Session
from ragctl.storage_checks import check_data_dir, check_disk, check_lock

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@command
def doctor(
    session: Session,
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", envvar="RAG_STORAGE__DATA_DIR", help="Folder of the server's data."),
    ] = Path("data"),
    model_cache: Annotated[
        Path | None,
        typer.Option("--model-cache", help="Folder of exported models.", show_default=False),
    ] = None,
) -> None:
    """Check this machine and the server; exit code 1 when something is wrong."""
    address = session.address
    server_findings, answer = check_server(session.channel, address)
    findings = [check_python(), check_packages(required_packages())]
    if address.is_loopback:
        findings += [
            # A server that runs has taken its memory already.
            *([] if answer else [check_memory(available_memory_bytes())]),
            check_model(model_cache or default_model_cache()),
            check_disk(data_dir),
            check_data_dir(data_dir),
            check_lock(data_dir, is_served=answer is not None),
        ]
    findings += server_findings
    if answer is not None:
        findings.append(check_services(session.channel))
    _show(session, findings)
    if any(each.level is Level.FAIL for each in findings):
        raise typer.Exit(ExitCode.FAILED)


def _show(session: Session, findings: list[Finding]) -> None:
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    if session.output.is_json:
        session.output.document(
            {
                "findings": [each.as_dict() for each in findings],
                "counts": {level.value: count for level, count in counts.items()},
            }
        )
        return
    width = max(len(each.check) for each in findings)
    for finding in findings:
        line = Text(f"{finding.level.value:<5}", style=STYLES[finding.level])
        line.append(
            f"{printable(finding.check):<{width}}  {printable(finding.detail)}", style="not bold default"
        )
        session.output.line(line)
        if finding.advice:
            session.output.line(f"     {'':<{width}}  -> {finding.advice}", style="dim")
    summary = ", ".join(f"{count} {level.value}" for level, count in counts.items())
    session.output.line(summary, style="bold")
