"""vocelio flow: what flow authors need: validate, test, show, promote."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.progress import Progress

from vocelio.engine.diagnostics import Problem
from vocelio.engine.diagram import dot, svg, tree
from vocelio.engine.diagram.model import picture
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario import report as scenarios_report
from vocelio.engine.scenario.steps import Scenario
from vocelio.engine.validation.flow_set import check_all
from vocelio.gateway.cli import api_client, common, render_progress

app = typer.Typer(help="Validate, test, show and promote flows.", no_args_is_help=True, add_completion=False)

FlowFile = Annotated[Path, typer.Argument(help="A flow document, JSON.", exists=True, dir_okay=False)]


class Form(StrEnum):
    """How a flow is shown."""

    tree = "tree"
    dot = "dot"
    svg = "svg"


@app.command()
def validate(file: FlowFile) -> None:
    """Say everything that is wrong with a flow; exit code 1 when it cannot be used."""
    version, problems = read(file)
    _print(file, problems)
    if version is None:
        raise typer.Exit(1)
    common.out.print(f"{file}: {len(version.flow.nodes)} nodes, version {version.id}")


@app.command("test")
def run_scenarios(
    file: FlowFile,
    scenarios: Annotated[Path | None, typer.Argument(help="Otherwise FILE.scenarios.yaml beside it.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Place each as a real call, spoken and heard.")] = False,
) -> None:
    """Run a flow's scenarios, without audio, in milliseconds; exit code 1 when one fails."""
    version = usable(file)
    path = scenarios or Path(scenario.beside(file))
    if not path.exists():
        common.complain(f"there is no {path}")
        raise typer.Exit(2)
    try:
        read_scenarios = scenario.load(path.read_text())
        report = scenarios_report.run_all(version, read_scenarios)
    except EngineError as error:
        common.err.print(f"{path}: {error}", markup=False)
        raise typer.Exit(2) from error
    common.out.print(scenarios_report.render(report), markup=False)
    if not report.passed or (audio and not _speak(version, read_scenarios)):
        raise typer.Exit(1)


@app.command()
def show(
    file: FlowFile,
    form: Annotated[Form, typer.Option("--as", help="A tree for the terminal, Graphviz DOT, or an SVG.")] = Form.tree,
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file.")] = None,
) -> None:
    """Draw a flow."""
    draw = {Form.tree: tree.tree, Form.dot: dot.dot, Form.svg: svg.svg}[form]
    text = draw(picture(usable(file).flow))
    if to:
        to.write_text(text)
    else:
        typer.echo(text)


@app.command()
def promote(
    file: FlowFile,
    tenant: api_client.TenantName = "",
    note: Annotated[str, typer.Option(help="What has changed, for whoever reads the list of versions.")] = "",
    server: common.Server = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch its prompts being rendered.")] = True,
) -> None:
    """Put a flow onto a running gateway as the draft of the file's name, and promote it: new calls get it at once."""
    flow = quote(file.stem, safe="")
    with common.explained():
        api = api_client.Api(server, tenant)
        there = api.ask("GET", f"/v1/flows/{flow}", accept=(404,))
        put = api.ask("PUT", f"/v1/flows/{flow}", file.read_bytes(), etag=there.etag)
        promoted = api.ask("POST", f"/v1/flows/{flow}/promote", {"note": note}, etag=put.etag).json()
    for problem in promoted["warnings"]:
        common.out.print(f"{file}: {problem['path']}: {problem['message']}", markup=False, soft_wrap=True)
    common.out.print(f"{file.stem}: version {promoted['version']['number']} is active")
    if wait:
        render_progress.follow(api, flow)


def read(file: Path) -> tuple[FlowVersion | None, list[Problem]]:
    """The flow, checked together with its neighbours in the folder, which it may call."""
    neighbours = {path.stem: path.read_bytes() for path in file.parent.glob("*.json")}
    return check_all({**neighbours, file.stem: file.read_bytes()})[file.stem]


def usable(file: Path) -> FlowVersion:
    """The flow, or the end of the command."""
    version, problems = read(file)
    if version is None:
        _print(file, problems)
        raise typer.Exit(2)
    return version


def _speak(version: FlowVersion, scenarios: list[Scenario]) -> bool:
    """Each scenario as a call, four at a time; whether all went as they should."""
    from vocelio.gateway.cli.spoken_scenarios import speak_all  # here: a whole gateway, which takes a second to import

    common.out.print()
    with common.explained(), Progress(console=common.out, transient=True) as progress:
        task = progress.add_task("calls", total=len(scenarios))
        results = asyncio.run(speak_all(version, scenarios, lambda: progress.advance(task)))
    for result in results:
        word = "skip" if result.left_out else "FAIL" if result.wrong else "ok  "
        common.out.print(f"{word}  {result.name}  {result.left_out}", markup=False)
        for wrong in result.wrong:
            common.out.print(f"      {wrong}", markup=False, soft_wrap=True)
    played = [result for result in results if not result.left_out]
    passed = sum(not result.wrong for result in played)
    common.out.print(
        f"{passed} of {len(played)} calls passed, {len(results) - len(played)} scenarios have no audio form"
    )
    return passed == len(played)


def _print(file: Path, problems: list[Problem]) -> None:
    for problem in problems:
        common.out.print(f"{file}: {problem}", markup=False, soft_wrap=True)
