"""vocelio replay: run a recorded call again, on its own flow version or on another."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from vocelio.engine import call_log
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion, ValidationContext
from vocelio.engine.replay import compare
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.cli import api_client, common
from vocelio.gateway.cli.flow import load_or_exit

app = typer.Typer(add_completion=False)


@app.command()
def replay(
    call: Annotated[str, typer.Argument(help="SID of the call (CA...), or file of its log.")],
    flow: Annotated[Path | None, typer.Option(help="Flow to replay the call on. Default: its own version.")] = None,
    tenant: api_client.TenantOption = "",
    server: common.ServerOption = "",
) -> None:
    """Replay the events of a call and compare. Exits with 1 if its own version gives other actions."""
    file = Path(call)
    with common.exit_on_error():
        try:
            if file.is_file():
                recorded, version = call_log.decode_log(file.read_bytes()), _flow_from_option(flow)
            else:
                api = api_client.ApiClient(server, tenant)
                recorded = call_log.decode_log(api.request("GET", f"/v1/calls/{quote(call, safe='')}/log").body)
                version = load_or_exit(flow) if flow else _original_version(api, call)
            comparison = compare.compare(recorded, version)
        except EngineError as error:
            common.print_error(f"{error}")
            raise typer.Exit(2) from error
    common.stdout.print(compare.format_report(recorded, comparison), markup=False, soft_wrap=True)
    if comparison.same_version and comparison.verdict == "differs":
        raise typer.Exit(1)


def _flow_from_option(flow_path: Path | None) -> FlowVersion:
    if flow_path is None:
        common.print_error("a log file needs --flow")
        raise typer.Exit(2)
    return load_or_exit(flow_path)


def _original_version(api: api_client.ApiClient, call_id: str) -> FlowVersion:
    """Fetch the version that the call ran, with its subflows."""
    call = api.request("GET", f"/v1/calls/{quote(call_id, safe='')}").json()
    return _fetch_version(api, call["flow"], call["version"])


class _VersionResponse(msgspec.Struct, frozen=True):
    """The part of the response that is needed. The hash of the raw document identifies the version."""

    document: msgspec.Raw
    subflows: dict[str, tuple[str, int]]


def _fetch_version(api: api_client.ApiClient, flow: str, number: int) -> FlowVersion:
    response = api.request("GET", f"/v1/flows/{quote(flow, safe='')}/versions/{number}")
    version = msgspec.json.decode(response.body, type=_VersionResponse)
    subflows = {reference: _fetch_version(api, *target) for reference, target in version.subflows.items()}
    return load_flow(bytes(version.document), ValidationContext(flows=subflows))
