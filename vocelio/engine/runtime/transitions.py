"""Where a node sends the call: what the session does once the node has had its say."""

from typing import Any

import msgspec


class Leave(msgspec.Struct, frozen=True):
    """By an exit. Where it leads nowhere the call ends, after a ``goodbye``."""

    exit: str
    goodbye: bool = True


class Enter(msgspec.Struct, frozen=True):
    """Into another flow's version, known to this one as ``reference``; ``private`` inputs hold sensitive values."""

    reference: str
    inputs: dict[str, Any]
    private: dict[str, Any]


class Finish(msgspec.Struct, frozen=True):
    """Out of this flow, by its end of that name."""

    name: str


class Jump(msgspec.Struct, frozen=True):
    """To a node of the flow at ``depth`` (0 is the call's own), giving up those within."""

    depth: int
    node: str


Move = Leave | Enter | Finish | Jump
