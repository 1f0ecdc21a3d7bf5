"""vocelio demo: the gateway and a caller in one process; one real spoken call through an example flow."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.cli import common
from vocelio.gateway.cli.call import CALLER_NUMBER, CALLER_VOICE
from vocelio.gateway.cli.call_printer import CallPrinter
from vocelio.gateway.cli.embedded_gateway import embedded_gateway
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import EventBus, Subscription
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.simulator.caller.script import SimulatedCaller, Speak
from vocelio.gateway.simulator.report.report import CallReport
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store.in_memory import InMemoryCallStore

app = typer.Typer(add_completion=False)

EXAMPLE_SITE = Path(__file__).parents[3] / "examples" / "site"
CALLER_TEXT = "sales please"


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
    wav: Annotated[Path | None, typer.Option(help="Record both sides to this WAV file.")] = None,
) -> None:
    """Place one real spoken call through an example flow, and show it as it happens."""
    with common.exit_on_error():
        conversation = CallPrinter(None if as_json else common.stdout)
        report = asyncio.run(_place_call(conversation, wav))
    ended = conversation.ended_event
    if ended is None:
        common.print_error(f"the call did not come to an end: {report.errors}")
        raise typer.Exit(1)
    if not as_json:
        _print_summary(report, ended.data)
    else:
        typer.echo(json.dumps(_build_summary(report, conversation.transcripts, ended.data)))
    if ended.data["outcome"] != "transferred":
        raise typer.Exit(1)


async def _place_call(printer: CallPrinter, wav: Path | None) -> CallReport:
    folder = SiteFolder(EXAMPLE_SITE)
    services = _build_services(folder)
    async with services.bus.subscribe(folder.tenant.id) as watcher, embedded_gateway(services) as carrier:
        shown = asyncio.create_task(_print_events(watcher, printer))
        async with aclosing(LocalSynthesizer()) as voice:
            caller = SimulatedCaller([Speak(CALLER_TEXT)], voice, CALLER_VOICE)
            report = await carrier.call(next(iter(folder.numbers)), CALLER_NUMBER, caller, recording_path=wav)
        try:
            async with asyncio.timeout(5):
                await shown
        except TimeoutError:
            pass  # the summary says that the end is missing
    return report


def _build_services(site_folder: SiteFolder) -> CallServices:
    """Services with offline speech for the folder's site, kept in memory."""
    journal = InMemoryCallStore()
    site = site_folder.to_directory(journal)
    return CallServices(
        site, single_provider(LocalRecognizer(), LocalSynthesizer()), EventBus(), HttpClient(), journal, wall_clock
    )


async def _print_events(subscription: Subscription, printer: CallPrinter) -> None:
    while printer.ended_event is None:
        printer.print_event(await subscription.get())


def _build_summary(report: CallReport, transcripts: list[str], ended: dict[str, Any]) -> dict[str, Any]:
    return {
        "outcome": ended["outcome"],
        "department": ended["department"],
        "heard": transcripts,
        "turns": [
            {"said": turn.text, "latency_ms": None if turn.latency_ms is None else round(turn.latency_ms, 1)}
            for turn in report.turns
        ],
        "cost": ended["cost_micro_usd"] / 1e6,
        "seconds": round(report.seconds, 2),
    }


def _print_summary(report: CallReport, ended: dict[str, Any]) -> None:
    table = Table("turn", "caller said", "answered after", box=None, header_style="dim", padding=(0, 2))
    for number, turn in enumerate(report.turns, start=1):
        table.add_row(str(number), turn.text, _format_latency(turn.latency_ms))
    common.stdout.print()
    common.stdout.print(table)
    common.stdout.print(
        f"\noutcome [bold]{ended['outcome']}[/bold] to [bold]{ended['department']}[/bold], "
        f"{report.seconds:.1f} s, billed {ended['seconds']:.1f} s at the {ended['tier']} tier: "
        f"${ended['micro_usd'] / 1e6:.4f}"
    )
    for fault in report.errors:
        common.stdout.print(f"[red]the carrier noted:[/red] {fault}")


def _format_latency(latency_ms: float | None) -> str:
    """An answer that was clear before the caller's last word may begin before it ends."""
    if latency_ms is None:
        return "no answer"
    return f"{latency_ms:.0f} ms" if latency_ms >= 0 else f"at once ({-latency_ms:.0f} ms before the last word ended)"
