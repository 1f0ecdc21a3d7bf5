"""Replay: a call's events, fed again to a flow.

An exchange is one event and the actions it gave. A call is the list of its exchanges, so the same events on the
same version give the same list; scenario tests, the call's log and the comparison of versions all speak in it.
"""

from collections.abc import Iterable, Sequence

import msgspec

from vocelio.engine.actions import AnyAction, Request, Speak, Transfer
from vocelio.engine.call_info import CallInfo
from vocelio.engine.errors import EngineError
from vocelio.engine.events import AnyEvent, KeyPressed, RequestEnded, TranscriptReceived
from vocelio.engine.flow import FlowVersion
from vocelio.engine.session import FlowSession

REDACTED = "(not kept)"
_ACTIONS_DECODER = msgspec.json.Decoder(list[AnyAction])


class CallLogError(EngineError):
    """A call's log that cannot be replayed."""


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event and what the flow did about it. ``masked``: what the caller said or pressed has not been kept."""

    event: AnyEvent
    actions: tuple[AnyAction, ...] = ()
    masked: bool = False


def replay(version: FlowVersion, call_info: CallInfo, events: Iterable[AnyEvent]) -> list[Exchange]:
    """Feed the events to a new session of ``version``. Raises EventError for events that cannot be."""
    session = FlowSession(version, call_info)
    return [step(session, event) for event in events]


def step(session: FlowSession, event: AnyEvent) -> Exchange:
    """Feed one event. Raises EventError."""
    session.receive(event)
    return Exchange(event, tuple(session.actions()))


def redact_exchange(exchange: Exchange, sensitive: bool) -> Exchange:
    """The exchange as a log may keep it; ``confidential`` is Session.confidential as it was before the event.

    What the caller answered in confidence loses its content and keeps its length. A replay ends there, and says so:
    what followed depended on the answer.
    """
    event, hidden = exchange.event, False
    match event:
        case TranscriptReceived() if sensitive:
            event, hidden = msgspec.structs.replace(event, text="*" * len(event.text)), True
        case RequestEnded() if sensitive:
            event, hidden = msgspec.structs.replace(event, body=None), True
        case KeyPressed() if sensitive:
            event, hidden = msgspec.structs.replace(event, key="*"), True
        case _:
            pass
    return Exchange(event, without_secrets(exchange.actions), hidden)


def without_secrets(actions: Sequence[AnyAction]) -> tuple[AnyAction, ...]:
    """The actions without what a log must not keep of them."""
    return tuple(_redact_action(action) for action in actions)


def _redact_action(action: AnyAction) -> AnyAction:
    match action:
        case Speak(sensitive=True):
            return msgspec.structs.replace(action, text=REDACTED)
        case Request(sensitive=True):
            return msgspec.structs.replace(action, url=REDACTED, headers={}, json=None)
        case Transfer(sensitive=True):
            return msgspec.structs.replace(action, whisper=REDACTED)
        case _:
            return action


def equal_as_logged(left: Sequence[AnyAction], right: Sequence[AnyAction]) -> bool:
    """Whether both are the same in a log, which gives lists back for tuples and 3600.0 for a timer's 3600."""
    return _as_logged(left) == _as_logged(right)


def _as_logged(actions: Sequence[AnyAction]) -> list[AnyAction]:
    return _ACTIONS_DECODER.decode(msgspec.json.encode(actions))
