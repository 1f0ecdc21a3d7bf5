"""vocelio replay: a past call again, on its own version or on another."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from vocelio.engine.call_log import log
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion, Known
from vocelio.engine.replay import compare, report
from vocelio.engine.validation.loader import load
from vocelio.gateway.cli import api_client, common
from vocelio.gateway.cli.flow import usable

app = typer.Typer(add_completion=False)


@app.command()
def replay(
    call: Annotated[str, typer.Argument(help="The call's identifier (CA...), or the file of its log.")],
    flow: Annotated[Path | None, typer.Option(help="Another version of the flow to compare with.")] = None,
    tenant: api_client.TenantName = "",
    server: common.Server = "",
) -> None:
    """Run a call's events again: on its own version the actions must be the same, else the difference is shown."""
    file = Path(call)
    with common.explained():
        try:
            if file.is_file():
                kept, version = log.read(file.read_bytes()), _given(flow)
            else:
                api = api_client.Api(server, tenant)
                kept = log.read(api.ask("GET", f"/v1/calls/{quote(call, safe='')}/log").body)
                version = usable(flow) if flow else _own(api, call)
            comparison = compare.compare(kept, version)
        except EngineError as error:
            common.complain(f"{error}")
            raise typer.Exit(2) from error
    common.out.print(report.report(kept, comparison), markup=False, soft_wrap=True)
    if comparison.same_version and comparison.ending == "differs":
        raise typer.Exit(1)


def _given(flow: Path | None) -> FlowVersion:
    if flow is None:
        common.complain("the log of a file needs its flow: name it by --flow")
        raise typer.Exit(2)
    return usable(flow)


def _own(api: api_client.Api, call: str) -> FlowVersion:
    """The version that the call ran, with the versions that it calls."""
    ran = api.ask("GET", f"/v1/calls/{quote(call, safe='')}").json()
    return _version(api, ran["flow"], ran["version"])


class _Version(msgspec.Struct, frozen=True):
    """What is needed of a version; the document byte for byte, since that is what a version's identity is made of."""

    document: msgspec.Raw
    subflows: dict[str, tuple[str, int]]


def _version(api: api_client.Api, flow: str, number: int) -> FlowVersion:
    answer = api.ask("GET", f"/v1/flows/{quote(flow, safe='')}/versions/{number}")
    version = msgspec.json.decode(answer.body, type=_Version)
    pinned = {reference: _version(api, *target) for reference, target in version.subflows.items()}
    return load(bytes(version.document), Known(flows=pinned))
