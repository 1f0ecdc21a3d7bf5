"""Replay: a call's events, fed again to a flow.

An exchange is one event and the actions it gave. A call is the list of its exchanges, so the same events on the
same version give the same list; scenario tests, the call's log and the comparison of versions all speak in it.
"""

from collections.abc import Iterable, Sequence

import msgspec

from vocelio.engine.actions import AnyAction, Request, Speak, Transfer
from vocelio.engine.call_info import CallFacts
from vocelio.engine.errors import EngineError
from vocelio.engine.events import AnyEvent, Heard, KeyPressed, ReplyArrived
from vocelio.engine.flow import FlowVersion
from vocelio.engine.session import Session

NOT_KEPT = "(not kept)"
_ACTIONS = msgspec.json.Decoder(list[AnyAction])


class ReplayError(EngineError):
    """A call's log that cannot be replayed."""


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event and what the flow did about it. ``masked``: what the caller said or pressed has not been kept."""

    event: AnyEvent
    actions: tuple[AnyAction, ...] = ()
    masked: bool = False


def replay(version: FlowVersion, facts: CallFacts, events: Iterable[AnyEvent]) -> list[Exchange]:
    """Feed the events to a new session of ``version``. Raises EventError for events that cannot be."""
    session = Session(version, facts)
    return [step(session, event) for event in events]


def step(session: Session, event: AnyEvent) -> Exchange:
    """Feed one event. Raises EventError."""
    session.receive(event)
    return Exchange(event, tuple(session.actions()))


def kept(exchange: Exchange, confidential: bool) -> Exchange:
    """The exchange as a log may keep it; ``confidential`` is Session.confidential as it was before the event.

    What the caller answered in confidence loses its content and keeps its length. A replay ends there, and says so:
    what followed depended on the answer.
    """
    event, hidden = exchange.event, False
    match event:
        case Heard() if confidential:
            event, hidden = msgspec.structs.replace(event, text="*" * len(event.text)), True
        case ReplyArrived() if confidential:
            event, hidden = msgspec.structs.replace(event, body=None), True
        case KeyPressed() if confidential:
            event, hidden = msgspec.structs.replace(event, key="*"), True
        case _:
            pass
    return Exchange(event, without_secrets(exchange.actions), hidden)


def without_secrets(given: Sequence[AnyAction]) -> tuple[AnyAction, ...]:
    """The actions without what a log must not keep of them."""
    return tuple(_without_secret(action) for action in given)


def _without_secret(action: AnyAction) -> AnyAction:
    match action:
        case Speak(sensitive=True):
            return msgspec.structs.replace(action, text=NOT_KEPT)
        case Request(sensitive=True):
            return msgspec.structs.replace(action, url=NOT_KEPT, headers={}, json=None)
        case Transfer(sensitive=True):
            return msgspec.structs.replace(action, whisper=NOT_KEPT)
        case _:
            return action


def same(left: Sequence[AnyAction], right: Sequence[AnyAction]) -> bool:
    """Whether both are the same in a log, which gives lists back for tuples and 3600.0 for a timer's 3600."""
    return _logged(left) == _logged(right)


def _logged(given: Sequence[AnyAction]) -> list[AnyAction]:
    return _ACTIONS.decode(msgspec.json.encode(given))
