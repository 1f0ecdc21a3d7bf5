"""vocelio demo: the gateway and a caller in one process; one real spoken call through an example flow."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.cli import common
from vocelio.gateway.cli.call import CALLER, CALLERS_VOICE
from vocelio.gateway.cli.call_printer import Conversation
from vocelio.gateway.cli.embedded_gateway import stage
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.events import EventBus, Watcher
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.simulator.caller.script import Caller, Speak
from vocelio.gateway.simulator.report.report import CallReport
from vocelio.gateway.site.folder import Folder
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.store.in_memory import MemoryJournal

app = typer.Typer(add_completion=False)

SITE = Path(__file__).parents[3] / "examples" / "site"
SAYS = "sales please"


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
    wav: Annotated[Path | None, typer.Option(help="Record both sides to this WAV file.")] = None,
) -> None:
    """Place one real spoken call through an example flow, and show it as it happens."""
    with common.explained():
        conversation = Conversation(None if as_json else common.out)
        report = asyncio.run(_run(conversation, wav))
    ended = conversation.ended
    if ended is None:
        common.complain(f"the call did not come to an end: {report.errors}")
        raise typer.Exit(1)
    if not as_json:
        _print_summary(report, ended.data)
    else:
        typer.echo(json.dumps(_summary(report, conversation.heard, ended.data)))
    if ended.data["outcome"] != "transferred":
        raise typer.Exit(1)


async def _run(conversation: Conversation, wav: Path | None) -> CallReport:
    folder = Folder(SITE)
    services = _services(folder)
    async with services.bus.watch(folder.tenant.id) as watcher, stage(services) as carrier:
        shown = asyncio.create_task(_show(watcher, conversation))
        async with aclosing(LocalSynthesizer()) as voice:
            caller = Caller([Speak(SAYS)], voice, CALLERS_VOICE)
            report = await carrier.call(next(iter(folder.numbers)), CALLER, caller, recording=wav)
        try:
            async with asyncio.timeout(5):
                await shown
        except TimeoutError:
            pass  # the summary says that the end is missing
    return report


def _services(folder: Folder) -> Services:
    """Services with offline speech for the folder's site, kept in memory."""
    journal = MemoryJournal()
    site = folder.site(journal)
    return Services(site, only(LocalRecognizer(), LocalSynthesizer()), EventBus(), Fetcher(), journal, wall_clock)


async def _show(watcher: Watcher, conversation: Conversation) -> None:
    while conversation.ended is None:
        conversation.show(await watcher.get())


def _summary(report: CallReport, heard: list[str], ended: dict[str, Any]) -> dict[str, Any]:
    return {
        "outcome": ended["outcome"],
        "department": ended["department"],
        "heard": heard,
        "turns": [
            {"said": turn.said, "latency_ms": None if turn.latency_ms is None else round(turn.latency_ms, 1)}
            for turn in report.turns
        ],
        "cost": ended["micro_usd"] / 1e6,
        "seconds": round(report.seconds, 2),
    }


def _print_summary(report: CallReport, ended: dict[str, Any]) -> None:
    table = Table("turn", "caller said", "answered after", box=None, header_style="dim", padding=(0, 2))
    for number, turn in enumerate(report.turns, start=1):
        table.add_row(str(number), turn.said, _latency(turn.latency_ms))
    common.out.print()
    common.out.print(table)
    common.out.print(
        f"\noutcome [bold]{ended['outcome']}[/bold] to [bold]{ended['department']}[/bold], "
        f"{report.seconds:.1f} s, billed {ended['seconds']:.1f} s at the {ended['tier']} tier: "
        f"${ended['micro_usd'] / 1e6:.4f}"
    )
    for fault in report.errors:
        common.out.print(f"[red]the carrier noted:[/red] {fault}")


def _latency(ms: float | None) -> str:
    """An answer that was clear before the caller's last word may begin before it ends."""
    if ms is None:
        return "no answer"
    return f"{ms:.0f} ms" if ms >= 0 else f"at once ({-ms:.0f} ms before the last word ended)"
