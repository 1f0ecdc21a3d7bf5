"""The session's state: everything that must survive the process, and nothing else. It is the checkpoint.

What a caller entered in confidence is in ``private`` and nowhere else, so that a store can encrypt that part.
"""

from typing import Any, Literal

import msgspec

from vocelio.engine.actions import HangUp
from vocelio.engine.call_info import CallInfo
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


class Frame(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A flow that waits for the one it called: where it is, and what it will go on with.

    ``reference`` is the called flow, by the name that the waiting flow has for it.
    """

    reference: str
    node: str
    variables: dict[str, Any] = {}
    results: dict[str, Any] = {}
    voice: Voice | None = None


class PrivateState(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What may hold sensitive values: the node's memory, keys not taken yet, and the sensitive variables of the
    call's own flow and of each flow within, outermost first.
    """

    node_memory: Any = None
    buffered_keys: str = ""
    variables: list[dict[str, Any]] = []


class SessionState(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One call in one flow, between two events.

    ``speech`` says that the caller is speaking; ``answered`` that what is being said has been taken as an answer
    already, so that its tail means nothing. ``stack`` holds the flows that wait, the call's own first; ``node``,
    ``variables``, ``results`` and ``voice`` are those of the flow within. ``noted`` are the problems of this visit
    that monitors know of.
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
        """The sensitive variables of the flow within."""
        depth = len(self.stack)
        return self.private.variables[depth] if len(self.private.variables) > depth else {}
