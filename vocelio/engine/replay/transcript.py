"""A call as a conversation: who said or did what, when, and at which node. Made from exchanges only.

What the caller perceives is told; recognition, timers that ran out unnoticed and notes for monitors are not.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.call_log.exchange import Exchange

Who = Literal["flow", "caller", ""]


class Line(msgspec.Struct, frozen=True):
    """One line: seconds since the call began, the node where the call then was, who, and what."""

    at: float
    node: str
    who: Who
    text: str

    def __str__(self) -> str:
        return f"{self.at:7.1f}  {self.node:<14} {self.who:<6} {self.text}".rstrip()


def transcript(exchanges: Iterable[Exchange]) -> list[Line]:
    """The conversation."""
    return list(_lines(exchanges))


def render(lines: Iterable[Line], indent: str = "") -> str:
    """The conversation as text."""
    return "\n".join(f"{indent}{line}" for line in lines)


def _lines(exchanges: Iterable[Exchange]) -> Iterator[Line]:
    node = ""
    for exchange in exchanges:
        at = exchange.event.at
        if told := _event(exchange):
            yield Line(at, node, *told)
        for action in exchange.actions:
            if isinstance(action, actions.Note) and action.type == "node.entered":
                node = str(action.data.get("node", ""))
            elif done := did(action):
                yield Line(at, node, *done)


def _event(exchange: Exchange) -> tuple[Who, str] | None:
    match exchange.event:
        case events.Heard(text=text, final=final, confidence=confidence):
            if final or exchange.actions:
                sure = f" (confidence {confidence:.2f})" if confidence < 1 else ""
                return "caller", f'"{text}"{"" if final else " ..."}{sure}' if text else "(not understood)"
        case events.KeyPressed(key=key):
            return "caller", f"presses {key}"
        case events.PromptInterrupted(heard=heard) if exchange.actions:
            return "caller", f"(interrupts after {heard:.1f} s)"
        case events.TimerFired() if exchange.actions:
            return "", "(time runs out)"
        case events.ListeningFailed():
            return "", "(speech cannot be heard)"
        case events.TransferEnded(how=how) | events.QueueEnded(how=how):
            return "", f"-> {how}"
        case events.ReplyArrived(how=how, status=status):
            return "", f"-> {how} {status or ''}".rstrip()
        case events.RecordingEnded(seconds=seconds):
            return "", f"-> {seconds:g} s recorded"
        case events.Commanded(command=command, value=value):
            return "", f"operator: {command} {value}".rstrip()
        case events.CallResumed():
            return "", "the line was lost and comes back"
        case events.CallEnded():
            return "caller", "(hangs up)"
        case _:
            pass
    return None


def did(action: actions.AnyAction) -> tuple[Who, str] | None:
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
        case actions.Echo(on=on):
            return "", f"echo {'on' if on else 'off'}"
        case actions.HangUp(outcome=outcome, disposition=disposition):
            return "", f"the call ends: {outcome} {disposition}".rstrip()
        case actions.Note(type="flow.problem", data=data):
            return "", f"problem: {data.get('problem', '')}"
        case _:
            return None
