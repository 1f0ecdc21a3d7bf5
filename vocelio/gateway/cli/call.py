"""vocelio call: a simulated call to a running gateway."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from vocelio.engine.voice import Voice
from vocelio.gateway.cli import common
from vocelio.gateway.config import Settings
from vocelio.gateway.simulator.caller.script import Caller, Play, Press, Speak, Step
from vocelio.gateway.simulator.report import events
from vocelio.gateway.simulator.report.report import CallReport
from vocelio.gateway.simulator.simulator import Carrier
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

app = typer.Typer(add_completion=False)

CALLER = "+13105550142"
CALLERS_VOICE = Voice(name="en-us+f3")


@app.command()
def call(
    number: Annotated[str, typer.Argument(help="The number to call, E.164.")],
    server: common.Server = "",
    from_: Annotated[str, typer.Option("--from", help="The caller's number.")] = CALLER,
    say: Annotated[list[str] | None, typer.Option(help="Say this when it is the caller's turn.")] = None,
    press: Annotated[list[str] | None, typer.Option(help="Press these keys.")] = None,
    play: Annotated[list[Path] | None, typer.Option(help="Say what is in this WAV file.")] = None,
    wav: Annotated[Path | None, typer.Option(help="Record both sides to this WAV file.")] = None,
) -> None:
    """Call a running gateway as Twilio would. Steps are taken in the order in which they are given."""
    steps = ordered(sys.argv, say or [], press or [], play or [])
    with common.explained():
        report = asyncio.run(_call(common.settings(), common.address(server), number, from_, steps, wav))
    for fault in report.errors:
        common.out.print(f"[red]the carrier noted:[/red] {fault}")
    for target in report.dialed:
        common.out.print(f"dialed {target.target}: {target.outcome}")
    common.out.print(f"ended: {report.ended.replace('_', ' ')} after {report.seconds:.1f} s")
    if report.errors:
        raise typer.Exit(1)


def ordered(arguments: list[str], say: list[str], press: list[str], play: list[Path]) -> list[Step]:
    """The steps in the order of the command line, which the parsed options no longer have."""
    waiting = {"--say": iter(say), "--press": iter(press), "--play": iter(map(str, play))}
    steps: list[Step] = []
    for argument in arguments:
        name = argument.partition("=")[0]
        value = next(waiting[name], None) if name in waiting else None
        if value is not None:
            made: dict[str, Step] = {"--say": Speak(value), "--press": Press(value), "--play": Play(Path(value))}
            steps.append(made[name])
    return steps


async def _call(
    settings: Settings, server: str, number: str, from_: str, steps: list[Step], wav: Path | None
) -> CallReport:
    account, token = next(iter(settings.tokens.items()))
    async with aclosing(LocalSynthesizer()) as voice, Carrier(server, settings.public_url, account, token) as carrier:
        caller = Caller(steps, voice, CALLERS_VOICE)
        return await carrier.call(number, from_, caller, recording=wav, on_event=_show)


def _show(event: events.Event) -> None:
    match event:
        case events.Ringing():
            text = f"calling {event.to}"
        case events.Connected():
            text = f"connected, stream {event.number}"
        case events.CallerSpeaks():
            text = f"caller: {event.text}"
        case events.CallerPresses():
            text = f"caller presses {event.keys}"
        case events.Interrupts():
            text = "(interrupting)"
        case events.GatewayAnswers():
            text = f"gateway answers after {event.latency_ms:.0f} ms"
        case events.CarrierSays():
            text = f"Twilio says: {event.text}"
        case events.Dialing():
            text = f"ringing {', '.join(event.targets)}"
        case events.Bridged():
            text = f"{event.target} has answered"
        case events.Ended():
            return
    common.out.print(f"[dim]{event.at:6.1f} s[/dim]  {text}", markup=True)
