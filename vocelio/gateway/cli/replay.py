"""vocelio replay: a past call again, on its own version or on another."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from vocelio.engine.call_log import log
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion, ValidationContext
from vocelio.engine.replay import compare, report
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.cli import api_client, common
from vocelio.gateway.cli.flow import load_or_exit

app = typer.Typer(add_completion=False)


@app.command()
def replay(
    call: Annotated[str, typer.Argument(help="The call's identifier (CA...), or the file of its log.")],
    flow: Annotated[Path | None, typer.Option(help="Another version of the flow to compare with.")] = None,
    tenant: api_client.TenantOption = "",
    server: common.ServerOption = "",
) -> None:
    """Run a call's events again: on its own version the actions must be the same, else the difference is shown."""
    file = Path(call)
    with common.exit_on_error():
        try:
            if file.is_file():
                kept, version = log.decode_log(file.read_bytes()), _flow_from_option(flow)
            else:
                api = api_client.ApiClient(server, tenant)
                kept = log.decode_log(api.request("GET", f"/v1/calls/{quote(call, safe='')}/log").body)
                version = load_or_exit(flow) if flow else _original_version(api, call)
            comparison = compare.compare(kept, version)
        except EngineError as error:
            common.print_error(f"{error}")
            raise typer.Exit(2) from error
    common.stdout.print(report.format_report(kept, comparison), markup=False, soft_wrap=True)
    if comparison.same_version and comparison.verdict == "differs":
        raise typer.Exit(1)


def _flow_from_option(flow_path: Path | None) -> FlowVersion:
    if flow_path is None:
        common.print_error("the log of a file needs its flow: name it by --flow")
        raise typer.Exit(2)
    return load_or_exit(flow_path)


def _original_version(api: api_client.ApiClient, call_id: str) -> FlowVersion:
    """The version that the call ran, with the versions that it calls."""
    ran = api.request("GET", f"/v1/calls/{quote(call_id, safe='')}").json()
    return _fetch_version(api, ran["flow"], ran["version"])


class _VersionResponse(msgspec.Struct, frozen=True):
    """What is needed of a version; the document byte for byte, since that is what a version's identity is made of."""

    document: msgspec.Raw
    subflows: dict[str, tuple[str, int]]


def _fetch_version(api: api_client.ApiClient, flow: str, number: int) -> FlowVersion:
    answer = api.request("GET", f"/v1/flows/{quote(flow, safe='')}/versions/{number}")
    version = msgspec.json.decode(answer.body, type=_VersionResponse)
    pinned = {reference: _fetch_version(api, *target) for reference, target in version.subflows.items()}
    return load_flow(bytes(version.document), ValidationContext(flows=pinned))
