"""vocelio demo: a gateway and a caller in one process; one real spoken call through an example flow."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.cli import common
from vocelio.gateway.cli.call import CALLER_NUMBER, CALLER_VOICE
from vocelio.gateway.cli.embedded_gateway import embedded_gateway, offline_services
from vocelio.gateway.events import Event, EventBus, Subscription
from vocelio.gateway.simulator.caller.script import SimulatedCaller, Speak
from vocelio.gateway.simulator.report import CallReport
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.store.in_memory import InMemoryCallStore

app = typer.Typer(add_completion=False)

EXAMPLE_SITE = Path(__file__).parents[3] / "examples" / "site"
CALLER_TEXT = "sales please"
LAST_EVENT_TIMEOUT_SECONDS = 5.0  # from the end of the simulated call to the gateway's call.ended


class CallPrinter:
    """Prints the events of a call as a conversation, and collects what the summary needs."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._started_at = 0
        self.transcripts: list[str] = []
        self.ended_event: Event | None = None

    def print_event(self, event: Event) -> None:
        """Print the next event of the call."""
        self._started_at = self._started_at or event.occurred_at
        data = event.data
        match event.type:
            case "call.started":
                self._print_line(event, "dim", "call", f"{data['caller']} calls {data['number']}, flow {data['flow']}")
            case "prompt.started":
                self._print_line(event, "cyan", "gateway", data["text"])
            case "prompt.interrupted":
                self._print_line(event, "dim", "", f"(interrupted after {data['played_seconds']:.1f} s)")
            case "transcript.final":
                self.transcripts.append(data["text"])
                transcript = data["text"] or "(not understood)"
                self._print_line(
                    event, "green", "caller", f"{transcript}  [dim]confidence {data['confidence']:.0%}[/dim]"
                )
            case "dtmf.received":
                self._print_line(event, "green", "caller", "(presses a key)")
            case "transfer.started":
                self._print_line(event, "yellow", "transfer", f"to {data['department'] or data['number']}")
            case "transfer.ended":
                self._print_line(event, "yellow", "transfer", data["result"].replace("_", " "))
            case "call.ended":
                self.ended_event = event
                self._print_line(event, "dim", "call", f"ended: {data['outcome']}")
            case "prompt.failed" | "recognition.failed" | "flow.problem":
                self._print_line(event, "red", "problem", data["error"])
            case _:
                pass

    def _print_line(self, event: Event, style: str, speaker: str, message: str) -> None:
        if self._console:
            at = (event.occurred_at - self._started_at) / 1e6
            text = message if "[dim]" in message else escape(message)
            self._console.print(f"[dim]{at:6.1f} s[/dim]  [{style}]{speaker:>9}[/{style}]  {text}")


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON instead of the conversation.")] = False,
    wav: Annotated[Path | None, typer.Option(help="Record both sides to this WAV file.")] = None,
) -> None:
    """Place one real spoken call through an example flow and show it live."""
    with common.exit_on_error():
        printer = CallPrinter(None if as_json else common.stdout)
        report = asyncio.run(_place_call(printer, wav))
    ended_event = printer.ended_event
    if ended_event is None:
        common.print_error(f"the call did not end: {report.errors}")
        raise typer.Exit(1)
    if not as_json:
        _print_summary(report, ended_event.data)
    else:
        typer.echo(json.dumps(_build_summary(report, printer.transcripts, ended_event.data)))
    if ended_event.data["outcome"] != "transferred":
        raise typer.Exit(1)


async def _place_call(printer: CallPrinter, wav: Path | None) -> CallReport:
    site_folder = SiteFolder(EXAMPLE_SITE)
    services = _build_services(site_folder)
    async with (
        services.bus.subscribe(site_folder.tenant.id) as subscription,
        embedded_gateway(services) as simulator,
    ):
        printing = asyncio.create_task(_print_events(subscription, printer))
        async with aclosing(LocalSynthesizer()) as voice:
            caller = SimulatedCaller([Speak(CALLER_TEXT)], voice, CALLER_VOICE)
            number = next(iter(site_folder.numbers))
            report = await simulator.call(number, CALLER_NUMBER, caller, recording_path=wav)
        try:
            async with asyncio.timeout(LAST_EVENT_TIMEOUT_SECONDS):
                await printing
        except TimeoutError:
            pass  # the missing end is reported by the command
    return report


def _build_services(site_folder: SiteFolder) -> CallServices:
    call_store = InMemoryCallStore()
    return offline_services(site_folder.to_directory(call_store), call_store, EventBus(), LocalRecognizer())


async def _print_events(subscription: Subscription, printer: CallPrinter) -> None:
    while printer.ended_event is None:
        printer.print_event(await subscription.get())


def _build_summary(report: CallReport, transcripts: list[str], ended: dict[str, Any]) -> dict[str, Any]:
    return {
        "outcome": ended["outcome"],
        "department": ended["department"],
        "heard": transcripts,
        "turns": [
            {"caller_text": turn.text, "latency_ms": None if turn.latency_ms is None else round(turn.latency_ms, 1)}
            for turn in report.turns
        ],
        "cost": ended["cost_micro_usd"] / 1e6,
        "seconds": round(report.seconds, 2),
    }


def _print_summary(report: CallReport, ended: dict[str, Any]) -> None:
    table = Table("turn", "caller said", "reply after", box=None, header_style="dim", padding=(0, 2))
    for number, turn in enumerate(report.turns, start=1):
        table.add_row(str(number), turn.text, _format_latency(turn.latency_ms))
    common.stdout.print()
    common.stdout.print(table)
    common.stdout.print(
        f"\noutcome [bold]{ended['outcome']}[/bold] to [bold]{ended['department']}[/bold], "
        f"{report.seconds:.1f} s, billed {ended['billed_seconds']:.1f} s at the {ended['tier']} tier: "
        f"${ended['cost_micro_usd'] / 1e6:.4f}"
    )
    for error in report.errors:
        common.stdout.print(f"[red]Twilio debugger:[/red] {error}")


def _format_latency(latency_ms: float | None) -> str:
    """Negative: a partial transcript matched, and the reply began before the caller's last word ended."""
    if latency_ms is None:
        return "no reply"
    return f"{latency_ms:.0f} ms" if latency_ms >= 0 else f"at once ({-latency_ms:.0f} ms before the last word ended)"
