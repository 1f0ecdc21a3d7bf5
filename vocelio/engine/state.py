"""The session's state: everything that must survive the process, and nothing else. It is the checkpoint."""

from typing import Any, Literal

import msgspec

from vocelio.engine.actions import HangUp
from vocelio.engine.facts import CallFacts
from vocelio.engine.voice import Voice

Owner = Literal["node", "session"]


class Prompt(msgspec.Struct, omit_defaults=True):
    """A prompt under way. ``owner`` is told when it ends; ``stopping`` says that it has been asked to."""

    barge_in: bool = True
    stopping: bool = False
    owner: Owner = "node"


class Timer(msgspec.Struct, omit_defaults=True):
    """A timer under way: what it is for."""

    name: str
    owner: Owner = "node"


class State(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One call in one flow, between two events.

    ``speech`` says that the caller is speaking; ``answered`` that what is being said has been taken as an answer
    already, so that its tail means nothing. ``keys`` are those pressed before any node asked for them.
    """

    flow: str
    facts: CallFacts
    at: float = 0.0
    node: str = ""
    visits: int = 0
    ids: int = 0
    memory: Any = None
    variables: dict[str, Any] = {}
    results: dict[str, Any] = {}
    voice: Voice | None = None
    speaking: dict[str, Prompt] = {}
    listening: str = ""
    timers: dict[str, Timer] = {}
    pending: str = ""
    commanded: bool = False
    keys: str = ""
    speech: bool = False
    answered: bool = False
    echoing: bool = False
    preface: str = ""
    closing: HangUp | None = None
    ended: bool = False
    outcome: str = ""
