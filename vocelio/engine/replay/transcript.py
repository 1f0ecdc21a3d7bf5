"""Transcript of a call, built from its exchanges: time, node, speaker and text of each line.

It contains what the caller perceives: neither recognition, timers without effect nor events for monitors.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log import Exchange

Speaker = Literal["flow", "caller", ""]


class TranscriptLine(msgspec.Struct, frozen=True):
    """One line. ``at_seconds`` counts from the start of the call; ``node`` is the current node."""

    at_seconds: float
    node: str
    speaker: Speaker
    text: str

    def __str__(self) -> str:
        return f"{self.at_seconds:7.1f}  {self.node:<14} {self.speaker:<6} {self.text}".rstrip()


def build_transcript(exchanges: Iterable[Exchange]) -> list[TranscriptLine]:
    """Build the transcript of a call."""
    return list(_iter_lines(exchanges))


def format_transcript(lines: Iterable[TranscriptLine], indent: str = "") -> str:
    """Format the transcript as text, one line each."""
    return "\n".join(f"{indent}{line}" for line in lines)


def _iter_lines(exchanges: Iterable[Exchange]) -> Iterator[TranscriptLine]:
    node = ""
    for exchange in exchanges:
        at = exchange.event.at
        if description := _describe_event(exchange):
            yield TranscriptLine(at, node, *description)
        for action in exchange.actions:
            if isinstance(action, actions.EmitEvent) and action.type == "node.entered":
                node = str(action.data.get("node", ""))
            elif description := describe_action(action):
                yield TranscriptLine(at, node, *description)


def _describe_event(exchange: Exchange) -> tuple[Speaker, str] | None:
    match exchange.event:
        case events.TranscriptReceived(text=text, final=final, confidence=confidence):
            if final or exchange.actions:
                suffix = f" (confidence {confidence:.2f})" if confidence < 1 else ""
                return "caller", f'"{text}"{"" if final else " ..."}{suffix}' if text else "(not understood)"
        case events.KeyPressed(key=key):
            return "caller", f"presses {key}"
        case events.PromptInterrupted(played_seconds=seconds) if exchange.actions:
            return "caller", f"(interrupts after {seconds:.1f} s)"
        case events.TimerFired() if exchange.actions:
            return "", "(timer fires)"
        case events.ListeningFailed():
            return "", "(speech recognition fails)"
        case events.TransferEnded(result=result) | events.QueueEnded(result=result):
            return "", f"-> {result}"
        case events.RequestEnded(result=result, status=status):
            return "", f"-> {result} {status or ''}".rstrip()
        case events.RecordingEnded(duration_seconds=seconds):
            return "", f"-> {seconds:g} s recorded"
        case events.OperatorCommand(command=command, value=value):
            return "", f"operator: {command} {value}".rstrip()
        case events.CallResumed():
            return "", "the stream was lost; the call resumes"
        case events.CallEnded():
            return "caller", "(hangs up)"
        case _:
            pass
    return None


def describe_action(action: actions.AnyAction) -> tuple[Speaker, str] | None:
    """Describe an action as the people on the line perceive it; None if they do not notice it."""
    match action:
        case actions.Speak(text=text, audio=audio):
            return "flow", f'"{text}"' if text or not audio else f"[{audio}]"
        case actions.Request(method=method, url=url):
            return "", f"{method} {url}"
        case actions.Transfer(department=department, number=number, sip=sip):
            return "", f"rings {department or number or sip}"
        case actions.Queue(department=department):
            return "", f"queues for {department}"
        case actions.Record():
            return "", "records"
        case actions.Echo(enabled=enabled):
            return "", f"echo {'on' if enabled else 'off'}"
        case actions.HangUp(outcome=outcome, disposition=disposition):
            return "", f"the call ends: {outcome} {disposition}".rstrip()
        case actions.EmitEvent(type="flow.problem", data=data):
            return "", f"problem: {data.get('error', '')}"
        case _:
            return None
