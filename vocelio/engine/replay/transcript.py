"""A call as a conversation: who said or did what, when, and at which node. Made from exchanges only.

What the caller perceives is told; recognition, timers that ran out unnoticed and notes for monitors are not.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log.exchange import Exchange

Speaker = Literal["flow", "caller", ""]


class TranscriptLine(msgspec.Struct, frozen=True):
    """One line: seconds since the call began, the node where the call then was, who, and what."""

    at_seconds: float
    node: str
    speaker: Speaker
    text: str

    def __str__(self) -> str:
        return f"{self.at_seconds:7.1f}  {self.node:<14} {self.speaker:<6} {self.text}".rstrip()


def build_transcript(exchanges: Iterable[Exchange]) -> list[TranscriptLine]:
    """The conversation."""
    return list(_iter_lines(exchanges))


def format_transcript(lines: Iterable[TranscriptLine], indent: str = "") -> str:
    """The conversation as text."""
    return "\n".join(f"{indent}{line}" for line in lines)


def _iter_lines(exchanges: Iterable[Exchange]) -> Iterator[TranscriptLine]:
    node = ""
    for exchange in exchanges:
        at = exchange.event.at
        if told := _describe_event(exchange):
            yield TranscriptLine(at, node, *told)
        for action in exchange.actions:
            if isinstance(action, actions.EmitEvent) and action.type == "node.entered":
                node = str(action.data.get("node", ""))
            elif done := describe_action(action):
                yield TranscriptLine(at, node, *done)


def _describe_event(exchange: Exchange) -> tuple[Speaker, str] | None:
    match exchange.event:
        case events.TranscriptReceived(text=text, final=final, confidence=confidence):
            if final or exchange.actions:
                sure = f" (confidence {confidence:.2f})" if confidence < 1 else ""
                return "caller", f'"{text}"{"" if final else " ..."}{sure}' if text else "(not understood)"
        case events.KeyPressed(key=key):
            return "caller", f"presses {key}"
        case events.PromptInterrupted(played_seconds=heard) if exchange.actions:
            return "caller", f"(interrupts after {heard:.1f} s)"
        case events.TimerFired() if exchange.actions:
            return "", "(time runs out)"
        case events.ListeningFailed():
            return "", "(speech cannot be heard)"
        case events.TransferEnded(result=how) | events.QueueEnded(result=how):
            return "", f"-> {how}"
        case events.RequestEnded(result=how, status=status):
            return "", f"-> {how} {status or ''}".rstrip()
        case events.RecordingEnded(duration_seconds=seconds):
            return "", f"-> {seconds:g} s recorded"
        case events.OperatorCommand(command=command, value=value):
            return "", f"operator: {command} {value}".rstrip()
        case events.CallResumed():
            return "", "the line was lost and comes back"
        case events.CallEnded():
            return "caller", "(hangs up)"
        case _:
            pass
    return None


def describe_action(action: actions.AnyAction) -> tuple[Speaker, str] | None:
    """What an action is to the people on the line; None for what they do not notice."""
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
        case actions.Echo(enabled=on):
            return "", f"echo {'on' if on else 'off'}"
        case actions.HangUp(outcome=outcome, disposition=disposition):
            return "", f"the call ends: {outcome} {disposition}".rstrip()
        case actions.EmitEvent(type="flow.problem", data=data):
            return "", f"problem: {data.get('error', '')}"
        case _:
            return None
