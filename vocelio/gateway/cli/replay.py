"""vocelio replay: a past call again, on its own version or on another."""

from pathlib import Path
from typing import Annotated

import typer

from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.replay import compare, log, report
from vocelio.gateway.cli import common
from vocelio.gateway.cli.flow import usable
from vocelio.gateway.store.logs import FolderLogs
from vocelio.gateway.store.site import FolderSite


def replay(
    call: Annotated[str, typer.Argument(help="The call's identifier (CA...), or the file of its log.")],
    flow: Annotated[Path | None, typer.Option(help="Another version of the flow to compare with.")] = None,
    site: Annotated[Path, typer.Option(help="The folder with site.json and flows/*.json.")] = common.SITE,
) -> None:
    """Run a call's events again: on its own version the actions must be the same, else the difference is shown."""
    with common.explained():
        try:
            kept = log.read(_log(call))
            version = usable(flow) if flow else _own(FolderSite(site), kept.header)
            comparison = compare.compare(kept, version)
        except EngineError as error:
            common.complain(f"{error}")
            raise typer.Exit(2) from error
    common.out.print(report.report(kept, comparison), markup=False, soft_wrap=True)
    if comparison.same_version and comparison.ending == "differs":
        raise typer.Exit(1)


def _log(call: str) -> bytes:
    path = Path(call)
    found = path.read_bytes() if path.is_file() else FolderLogs(common.LOGS).read(call)
    if found is None:
        common.complain(f"no log of {call} is kept in {common.LOGS}")
        raise typer.Exit(2)
    return found


def _own(site: FolderSite, header: log.Header) -> FlowVersion:
    for version in site.versions:
        if version.id == header.version:
            return version
    common.complain(f"version {header.version} of {header.flow} is not in the site any more: name one by --flow")
    raise typer.Exit(2)
