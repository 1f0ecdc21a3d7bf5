"""vocelio call: place a simulated call to a running gateway."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from vocelio.engine.voice import Voice
from vocelio.gateway.cli import common
from vocelio.gateway.config import Settings
from vocelio.gateway.simulator import events
from vocelio.gateway.simulator.caller.script import PlayFile, PressKeys, SimulatedCaller, Speak, Step
from vocelio.gateway.simulator.report import CallReport
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

app = typer.Typer(add_completion=False)

CALLER_NUMBER = "+13105550142"
CALLER_VOICE = Voice(name="en-us+f3")


@app.command()
def call(
    number: Annotated[str, typer.Argument(help="Number to call, E.164.")],
    server: common.ServerOption = "",
    from_: Annotated[str, typer.Option("--from", help="Number of the caller.")] = CALLER_NUMBER,
    say: Annotated[list[str] | None, typer.Option(help="Say this text at the caller's turn.")] = None,
    press: Annotated[list[str] | None, typer.Option(help="Press these keys at the caller's turn.")] = None,
    play: Annotated[list[Path] | None, typer.Option(help="Play this WAV file at the caller's turn.")] = None,
    wav: Annotated[Path | None, typer.Option(help="Record both sides to this WAV file.")] = None,
) -> None:
    """Call a running gateway as Twilio would. Steps are performed in the order of the options."""
    steps = order_steps(sys.argv, say or [], press or [], play or [])
    with common.exit_on_error():
        report = asyncio.run(_place_call(common.read_settings(), common.base_url(server), number, from_, steps, wav))
    for error in report.errors:
        common.stdout.print(f"[red]Twilio debugger:[/red] {error}")
    for target in report.dial_results:
        common.stdout.print(f"dialed {target.target}: {target.outcome}")
    common.stdout.print(f"ended: {report.ending.replace('_', ' ')} after {report.seconds:.1f} s")
    if report.errors:
        raise typer.Exit(1)


def order_steps(arguments: list[str], say: list[str], press: list[str], play: list[Path]) -> list[Step]:
    """Restore the order of the steps on the command line, which the parsed options do not have."""
    values = {"--say": iter(say), "--press": iter(press), "--play": iter(map(str, play))}
    steps: list[Step] = []
    for argument in arguments:
        name = argument.partition("=")[0]
        value = next(values[name], None) if name in values else None
        if value is not None:
            steps_by_option: dict[str, Step] = {
                "--say": Speak(value),
                "--press": PressKeys(value),
                "--play": PlayFile(Path(value)),
            }
            steps.append(steps_by_option[name])
    return steps


async def _place_call(
    settings: Settings, server: str, number: str, from_: str, steps: list[Step], wav: Path | None
) -> CallReport:
    account, token = next(iter(settings.platform_tokens.items()))
    async with (
        aclosing(LocalSynthesizer()) as voice,
        TwilioSimulator(server, settings.public_url, account, token) as simulator,
    ):
        caller = SimulatedCaller(steps, voice, CALLER_VOICE)
        return await simulator.call(number, from_, caller, recording_path=wav, on_event=_print_event)


def _print_event(event: events.CallEvent) -> None:
    match event:
        case events.CallPlaced():
            text = f"calling {event.to}"
        case events.StreamConnected():
            text = f"connected, stream {event.stream_number}"
        case events.CallerSpeechStarted():
            text = f"caller: {event.text}"
        case events.CallerPressedKeys():
            text = f"caller presses {event.keys}"
        case events.CallerInterrupted():
            text = "(interrupting)"
        case events.GatewayReplied():
            text = f"gateway replies after {event.latency_ms:.0f} ms"
        case events.TwilioSayStarted():
            text = f"Twilio says: {event.text}"
        case events.DialStarted():
            text = f"ringing {', '.join(event.targets)}"
        case events.CallBridged():
            text = f"{event.target} has answered"
        case events.CallEnded():
            return
    common.stdout.print(f"[dim]{event.at:6.1f} s[/dim]  {text}", markup=True)
