"""Where a node sends the call: what the session does once the node has had its say."""

from typing import Any

import msgspec


class TakeExit(msgspec.Struct, frozen=True):
    """By an exit. Where it leads nowhere the call ends, after a ``goodbye``."""

    exit_name: str
    say_goodbye: bool = True


class CallSubflow(msgspec.Struct, frozen=True):
    """Into another flow's version, known to this one as ``reference``; ``private`` inputs hold sensitive values."""

    reference: str
    inputs: dict[str, Any]
    sensitive_inputs: dict[str, Any]


class ReturnFromFlow(msgspec.Struct, frozen=True):
    """Out of this flow, by its end of that name."""

    end_name: str


class JumpToNode(msgspec.Struct, frozen=True):
    """To a node of the flow at ``depth`` (0 is the call's own), giving up those within."""

    depth: int
    node: str


Transition = TakeExit | CallSubflow | ReturnFromFlow | JumpToNode
