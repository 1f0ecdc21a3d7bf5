"""SessionState: the checkpoint of a flow session. Contains exactly what must survive the process.

Sensitive values are only in ``private``, so that a store can encrypt that part.
"""

from typing import Any, Literal

import msgspec

from vocelio.engine.actions import HangUp
from vocelio.engine.call_info import CallInfo
from vocelio.engine.voice import Voice

Owner = Literal["node", "session"]


class Prompt(msgspec.Struct, omit_defaults=True):
    """A playing prompt. ``owner`` gets its end event; ``stopping``: StopSpeaking has been sent."""

    barge_in: bool = True
    stopping: bool = False
    owner: Owner = "node"


class Timer(msgspec.Struct, omit_defaults=True):
    """A running timer."""

    name: str
    owner: Owner = "node"


class Frame(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A flow that waits for a subflow: its current node and what it continues with.

    ``reference`` is the called flow's name in the waiting flow's version.
    """

    reference: str
    node: str
    variables: dict[str, Any] = {}
    results: dict[str, Any] = {}
    voice: Voice | None = None


class PrivateState(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """State that may contain sensitive values.

    ``variables`` are the sensitive variables of each active flow, outermost first.
    """

    node_memory: Any = None
    buffered_keys: str = ""
    variables: list[dict[str, Any]] = []


class SessionState(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One call in one flow, between two events.

    ``stack`` has the waiting flows, the call's own first; ``node``, ``variables``, ``results`` and ``voice`` belong to
    the innermost flow. ``reported_problems`` are those already reported during this visit. ``pending_id`` is the
    pending transfer, request, recording or queue. ``utterance_consumed``: the current utterance has been taken as an
    answer, and the rest of it is ignored.
    """

    version_id: str
    call_info: CallInfo
    at: float = 0.0
    node: str = ""
    visit_count: int = 0
    last_id: int = 0
    private: PrivateState = msgspec.field(default_factory=PrivateState)
    variables: dict[str, Any] = {}
    results: dict[str, Any] = {}
    stack: list[Frame] = []
    reported_problems: list[str] = []
    voice: Voice | None = None
    prompts: dict[str, Prompt] = {}
    recognition_id: str = ""
    timers: dict[str, Timer] = {}
    pending_id: str = ""
    operator_transfer_pending: bool = False
    caller_speaking: bool = False
    utterance_consumed: bool = False
    echoing: bool = False
    next_prompt_prefix: str = ""
    pending_hang_up: HangUp | None = None
    ended: bool = False
    outcome: str = ""

    @property
    def sensitive_variables(self) -> dict[str, Any]:
        """The sensitive variables of the innermost flow."""
        depth = len(self.stack)
        return self.private.variables[depth] if len(self.private.variables) > depth else {}
