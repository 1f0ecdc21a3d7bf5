"""vocelio flow: what flow authors need while they write."""

from pathlib import Path
from typing import Annotated

import typer

from vocelio.engine.document import check
from vocelio.gateway.cli import common

app = typer.Typer(help="Validate flows.", no_args_is_help=True)


@app.callback()
def flow() -> None:
    """Flows, as files."""


@app.command()
def validate(file: Annotated[Path, typer.Argument(help="A flow document, JSON.", exists=True)]) -> None:
    """Say everything that is wrong with a flow; exit code 1 when it cannot be used."""
    version, problems = check(file.read_bytes())
    for problem in problems:
        common.out.print(f"{file}: {problem}", markup=False)
    if version is None:
        raise typer.Exit(1)
    common.out.print(f"{file}: {len(version.flow.nodes)} nodes, version {version.id}")
