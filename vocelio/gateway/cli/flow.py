"""vocelio flow: what flow authors need: validate, test, show, promote."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.progress import Progress

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.diagram import dot, svg, tree
from vocelio.engine.diagram.model import build_diagram
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario import report as scenarios_report
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.validation.flow_set import validate_all
from vocelio.gateway.cli import api_client, common, render_progress

app = typer.Typer(help="Validate, test, show and promote flows.", no_args_is_help=True, add_completion=False)

FlowFileArgument = Annotated[Path, typer.Argument(help="A flow document, JSON.", exists=True, dir_okay=False)]


class DiagramFormat(StrEnum):
    """How a flow is shown."""

    tree = "tree"
    dot = "dot"
    svg = "svg"


@app.command()
def validate(file: FlowFileArgument) -> None:
    """Say everything that is wrong with a flow; exit code 1 when it cannot be used."""
    version, problems = validate_file(file)
    _print_diagnostics(file, problems)
    if version is None:
        raise typer.Exit(1)
    common.stdout.print(f"{file}: {len(version.flow.nodes)} nodes, version {version.id}")


@app.command("test")
def run_scenarios(
    file: FlowFileArgument,
    scenarios: Annotated[Path | None, typer.Argument(help="Otherwise FILE.scenarios.yaml beside it.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Place each as a real call, spoken and heard.")] = False,
) -> None:
    """Run a flow's scenarios, without audio, in milliseconds; exit code 1 when one fails."""
    version = load_or_exit(file)
    path = scenarios or Path(scenario.scenario_path(file))
    if not path.exists():
        common.print_error(f"there is no {path}")
        raise typer.Exit(2)
    try:
        read_scenarios = scenario.load_scenarios(path.read_text())
        report = scenarios_report.run_all(version, read_scenarios)
    except EngineError as error:
        common.stderr.print(f"{path}: {error}", markup=False)
        raise typer.Exit(2) from error
    common.stdout.print(scenarios_report.format_report(report), markup=False)
    if not report.passed or (audio and not _run_spoken_scenarios(version, read_scenarios)):
        raise typer.Exit(1)


@app.command()
def show(
    file: FlowFileArgument,
    diagram_format: Annotated[
        DiagramFormat, typer.Option("--as", help="A tree for the terminal, Graphviz DOT, or an SVG.")
    ] = DiagramFormat.tree,
    output: Annotated[Path | None, typer.Option("--to", help="Write it to this file.")] = None,
) -> None:
    """Draw a flow."""
    draw = {DiagramFormat.tree: tree.render_tree, DiagramFormat.dot: dot.render_dot, DiagramFormat.svg: svg.render_svg}[
        diagram_format
    ]
    text = draw(build_diagram(load_or_exit(file).flow))
    if output:
        output.write_text(text)
    else:
        typer.echo(text)


@app.command()
def promote(
    file: FlowFileArgument,
    tenant: api_client.TenantOption = "",
    note: Annotated[str, typer.Option(help="What has changed, for whoever reads the list of versions.")] = "",
    server: common.ServerOption = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch its prompts being rendered.")] = True,
) -> None:
    """Put a flow onto a running gateway as the draft of the file's name, and promote it: new calls get it at once."""
    flow = quote(file.stem, safe="")
    with common.exit_on_error():
        api = api_client.ApiClient(server, tenant)
        there = api.request("GET", f"/v1/flows/{flow}", allowed_statuses=(404,))
        put = api.request("PUT", f"/v1/flows/{flow}", file.read_bytes(), etag=there.etag)
        promoted = api.request("POST", f"/v1/flows/{flow}/promote", {"note": note}, etag=put.etag).json()
    for problem in promoted["warnings"]:
        common.stdout.print(f"{file}: {problem['path']}: {problem['message']}", markup=False, soft_wrap=True)
    common.stdout.print(f"{file.stem}: version {promoted['version']['number']} is active")
    if wait:
        render_progress.show_progress(api, flow)


def validate_file(file: Path) -> tuple[FlowVersion | None, list[Diagnostic]]:
    """The flow, checked together with its neighbours in the folder, which it may call."""
    neighbours = {path.stem: path.read_bytes() for path in file.parent.glob("*.json")}
    return validate_all({**neighbours, file.stem: file.read_bytes()})[file.stem]


def load_or_exit(file: Path) -> FlowVersion:
    """The flow, or the end of the command."""
    version, problems = validate_file(file)
    if version is None:
        _print_diagnostics(file, problems)
        raise typer.Exit(2)
    return version


def _run_spoken_scenarios(version: FlowVersion, scenarios: list[Scenario]) -> bool:
    """Each scenario as a call, four at a time; whether all went as they should."""
    from vocelio.gateway.cli.spoken_scenarios import (
        run_all_spoken,  # here: a whole gateway, which takes a second to import
    )

    common.stdout.print()
    with common.exit_on_error(), Progress(console=common.stdout, transient=True) as progress:
        task = progress.add_task("calls", total=len(scenarios))
        results = asyncio.run(run_all_spoken(version, scenarios, lambda: progress.advance(task)))
    for result in results:
        word = "skip" if result.skip_reason else "FAIL" if result.failures else "ok  "
        common.stdout.print(f"{word}  {result.name}  {result.skip_reason}", markup=False)
        for wrong in result.failures:
            common.stdout.print(f"      {wrong}", markup=False, soft_wrap=True)
    played = [result for result in results if not result.skip_reason]
    passed = sum(not result.failures for result in played)
    common.stdout.print(
        f"{passed} of {len(played)} calls passed, {len(results) - len(played)} scenarios have no audio form"
    )
    return passed == len(played)


def _print_diagnostics(file: Path, diagnostics: list[Diagnostic]) -> None:
    for problem in diagnostics:
        common.stdout.print(f"{file}: {problem}", markup=False, soft_wrap=True)
