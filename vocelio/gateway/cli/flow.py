"""vocelio flow: validate, test, show and promote flows."""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.diagram import svg
from vocelio.engine.diagram import text as diagram_text
from vocelio.engine.diagram.model import build_diagram
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.loader import load_scenarios, scenario_path
from vocelio.engine.scenario.report import format_report, run_all
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.validation.loader import validate_all
from vocelio.gateway.cli import common
from vocelio.gateway.cli.api_client import ApiClient, ApiClientError, TenantOption

app = typer.Typer(help="Validate, test, show and promote flows.", no_args_is_help=True, add_completion=False)

FlowFileArgument = Annotated[Path, typer.Argument(help="A flow document, JSON.", exists=True, dir_okay=False)]

POLL_INTERVAL_SECONDS = 0.5
MAX_WAIT_SECONDS = 300.0  # a flow of 300 sentences; calls do not wait for its prompts, either
STALL_TIMEOUT_SECONDS = 30.0  # without progress: no process renders prompts, or the speech provider fails
NO_PROGRESS_STATUSES = (404, 409)  # a server of an earlier release; a server that does not pre-render
MAX_PROBLEMS_SHOWN = 3  # most failures have the same reason


class DiagramFormat(StrEnum):
    """Output format of ``flow show``."""

    tree = "tree"
    dot = "dot"
    svg = "svg"


RENDERERS = {
    DiagramFormat.tree: diagram_text.render_tree,
    DiagramFormat.dot: diagram_text.render_dot,
    DiagramFormat.svg: svg.render_svg,
}


@app.command()
def validate(file: FlowFileArgument) -> None:
    """Validate a flow and print all diagnostics. Exits with 1 if it has errors."""
    version, diagnostics = validate_file(file)
    _print_diagnostics(file, diagnostics)
    if version is None:
        raise typer.Exit(1)
    common.stdout.print(f"{file}: {len(version.flow.nodes)} nodes, version {version.id}")


@app.command("test")
def run_scenarios(
    file: FlowFileArgument,
    scenarios: Annotated[Path | None, typer.Argument(help="Scenario file. Default: FILE.scenarios.yaml.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Also place each scenario as a real spoken call.")] = False,
) -> None:
    """Run the scenarios of a flow, without audio, in milliseconds. Exits with 1 if one fails."""
    version = load_or_exit(file)
    path = scenarios or Path(scenario_path(file))
    if not path.exists():
        common.print_error(f"{path} does not exist")
        raise typer.Exit(2)
    try:
        loaded = load_scenarios(path.read_text())
        report = run_all(version, loaded)
    except EngineError as error:
        common.stderr.print(f"{path}: {error}", markup=False)
        raise typer.Exit(2) from error
    common.stdout.print(format_report(report), markup=False)
    if not report.passed or (audio and not _run_spoken_scenarios(version, loaded)):
        raise typer.Exit(1)


@app.command()
def show(
    file: FlowFileArgument,
    diagram_format: Annotated[
        DiagramFormat, typer.Option("--format", help="A tree for the terminal, Graphviz DOT, or SVG.")
    ] = DiagramFormat.tree,
    output: Annotated[Path | None, typer.Option("--output", help="Write to this file.")] = None,
) -> None:
    """Draw a flow."""
    text = RENDERERS[diagram_format](build_diagram(load_or_exit(file).flow))
    if output:
        output.write_text(text)
    else:
        typer.echo(text)


@app.command()
def promote(
    file: FlowFileArgument,
    tenant: TenantOption = "",
    note: Annotated[str, typer.Option(help="Description of the change, for the list of versions.")] = "",
    server: common.ServerOption = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show the progress of pre-rendering.")] = True,
) -> None:
    """Upload a flow to a running gateway as a draft named after the file, and promote it for new calls."""
    flow = quote(file.stem, safe="")
    with common.exit_on_error():
        api = ApiClient(server, tenant)
        current = api.request("GET", f"/v1/flows/{flow}", allowed_statuses=(404,))
        draft = api.request("PUT", f"/v1/flows/{flow}", file.read_bytes(), etag=current.etag)
        promoted = api.request("POST", f"/v1/flows/{flow}/promote", {"note": note}, etag=draft.etag).json()
    for warning in promoted["warnings"]:
        common.stdout.print(f"{file}: {warning['path']}: {warning['message']}", markup=False, soft_wrap=True)
    common.stdout.print(f"{file.stem}: version {promoted['version']['number']} is active")
    if wait:
        show_progress(api, flow)


def validate_file(file: Path) -> tuple[FlowVersion | None, list[Diagnostic]]:
    """Validate a flow together with the others in its folder, which it may call."""
    folder = {path.stem: path.read_bytes() for path in file.parent.glob("*.json")}
    return validate_all({**folder, file.stem: file.read_bytes()})[file.stem]


def load_or_exit(file: Path) -> FlowVersion:
    """Load a flow. If it has errors, print them and exit with 2."""
    version, diagnostics = validate_file(file)
    if version is None:
        _print_diagnostics(file, diagnostics)
        raise typer.Exit(2)
    return version


def _print_diagnostics(file: Path, diagnostics: list[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        common.stdout.print(f"{file}: {diagnostic}", markup=False, soft_wrap=True)


def _run_spoken_scenarios(version: FlowVersion, scenarios: list[Scenario]) -> bool:
    """Place each scenario as a call, and print the results. Returns whether all passed."""
    # Here: this imports a whole gateway, which takes a second.
    from vocelio.gateway.cli.spoken_scenarios import run_all_spoken

    common.stdout.print()
    with common.exit_on_error(), Progress(console=common.stdout, transient=True) as progress:
        task = progress.add_task("calls", total=len(scenarios))
        results = asyncio.run(run_all_spoken(version, scenarios, lambda: progress.advance(task)))
    for result in results:
        status = "skip" if result.skip_reason else "FAIL" if result.failures else "ok  "
        common.stdout.print(f"{status}  {result.name}  {result.skip_reason}", markup=False)
        for failure in result.failures:
            common.stdout.print(f"      {failure}", markup=False, soft_wrap=True)
    completed = [result for result in results if not result.skip_reason]
    passed = sum(not result.failures for result in completed)
    common.stdout.print(
        f"{passed} of {len(completed)} calls passed, {len(results) - len(completed)} scenarios have no audio form"
    )
    return passed == len(completed)


# Progress of pre-rendering


def show_progress(
    api: ApiClient,
    flow: str,
    max_wait_seconds: float = MAX_WAIT_SECONDS,
    stall_timeout_seconds: float = STALL_TIMEOUT_SECONDS,
) -> None:
    """Show the progress of pre-rendering until it is complete or stalls. Never fails: calls do not depend on it."""
    try:
        progress = _poll_progress(api, flow, max_wait_seconds, stall_timeout_seconds)
    except ApiClientError as error:
        common.stdout.print(f"could not get the progress of pre-rendering: {error}", markup=False, soft_wrap=True)
        return
    if progress is not None:
        _print_progress(progress)


def _poll_progress(
    api: ApiClient, flow: str, max_wait_seconds: float, stall_timeout_seconds: float
) -> dict[str, Any] | None:
    columns = (TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=common.stdout, transient=True, disable=not common.stdout.is_terminal) as bar:
        task = bar.add_task("prompts", left="")
        started_at = changed_at = time.monotonic()
        last_completed = -1
        while True:
            progress = _get_progress(api, flow)
            if progress is None or progress["pending"] == 0:
                return progress
            completed = progress["ready"] + progress["failed"]
            bar.update(
                task,
                total=progress["total"],
                completed=completed,
                left=_format_time_left(progress["remaining_seconds"]),
            )
            now = time.monotonic()
            if completed != last_completed:
                changed_at, last_completed = now, completed
            if now - started_at > max_wait_seconds or now - changed_at > stall_timeout_seconds:
                return progress
            time.sleep(POLL_INTERVAL_SECONDS)


def _get_progress(api: ApiClient, flow: str) -> dict[str, Any] | None:
    response = api.request("GET", f"/v1/flows/{flow}/prompts", allowed_statuses=NO_PROGRESS_STATUSES)
    progress: dict[str, Any] | None = None if response.status in NO_PROGRESS_STATUSES else response.json()
    return progress


def _format_time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"about {max(1, round(seconds))} s left"


def _print_progress(progress: dict[str, Any]) -> None:
    ready, total, failed = progress["ready"], progress["total"], progress["failed"]
    if ready == total:
        common.stdout.print(f"all {total} prompts are rendered")
        return
    common.stdout.print(f"{ready} of {total} prompts are rendered; the others are synthesized during calls")
    for failure in progress["failures"][:MAX_PROBLEMS_SHOWN]:
        warning = f"warning: {failure['sentence']!r}: {failure['error']}"
        common.stdout.print(warning, markup=False, soft_wrap=True)
    if failed > MAX_PROBLEMS_SHOWN:
        common.stdout.print(f"warning: {failed - MAX_PROBLEMS_SHOWN} more failed; all are retried")
