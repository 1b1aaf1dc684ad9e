"""The entry point: the commands and their common options.

Exit codes are described in `ragctl.exit_codes`.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from ragctl import (
    __version__,
    analysis,
    ask,
    assistants_commands,
    chat,
    collections_commands,
    conversations_commands,
    crawl,
    doctor,
    documents_commands,
    grounding,
    ingest,
    jobs_commands,
    reconcile,
    revisions_commands,
    search,
    serve,
    server_commands,
    upload_command,
    uploads_commands,
)
from ragctl.exit_codes import EPILOG
from ragctl.options import Json, NoColor, RootServer, Timeout
from ragctl.session import DEFAULT_SERVER, Options

app = typer.Typer(
    name="ragctl",
    help="The command line of rag-server: ingest documents, search them, ask them.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"ragctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    server: RootServer = DEFAULT_SERVER,
    timeout: Timeout = None,
    json: Json = False,
    no_color: NoColor = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options here hold for every command; the same options after the command win."""
    context.obj = Options(server=server, timeout_s=timeout, json=json, no_color=no_color)


app.command("serve")(serve.serve)
app.command("ingest")(ingest.ingest)
app.command("upload")(upload_command.upload)
app.command("crawl")(crawl.crawl)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("check-grounding")(grounding.check_grounding)
app.add_typer(conversations_commands.app, name="conversations")
app.add_typer(assistants_commands.app, name="assistants")
app.add_typer(collections_commands.app, name="collections")
documents_commands.app.command("revisions")(revisions_commands.list_revisions)
documents_commands.app.command("restore")(revisions_commands.restore)
documents_commands.app.command("download")(revisions_commands.download)
documents_commands.app.command("delete-all")(revisions_commands.delete_all)
app.add_typer(documents_commands.app, name="documents")
app.add_typer(jobs_commands.app, name="jobs")
app.add_typer(uploads_commands.app, name="uploads")
app.command("analyze")(analysis.analyze)
app.command("embed")(analysis.embed)
app.command("rerank")(analysis.rerank)
app.command("count-tokens")(analysis.count_tokens)
app.command("info")(server_commands.info)
app.command("health")(server_commands.health)
app.command("reconcile")(reconcile.reconcile)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run `ragctl` with the arguments of the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or pipe of another encoding shows an escape rather than ending the command.
            stream.reconfigure(errors="backslashreplace")
    app()
