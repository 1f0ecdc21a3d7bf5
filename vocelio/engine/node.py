"""What every node type is: a document's struct that also knows how to behave.

A node type is one file in ``nodes/``: the fields of the document, and what happens when a call enters the
node and when something happens to the call there. It keeps what it must remember in ``run.memory(...)``, since
the node itself is shared by all calls of the version.
"""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from vocelio.engine.events import AnyEvent
from vocelio.engine.problems import Problem
from vocelio.engine.run import Run


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The common part. ``exits`` leads from the names of ways out to the names of nodes."""

    type: ClassVar[str] = ""
    exit_names: ClassVar[tuple[str, ...]] = ("next",)

    exits: dict[str, str] = {}

    def ways_out(self) -> tuple[str, ...]:
        """The exits that this node can leave by."""
        return self.exit_names

    def enter(self, run: Run) -> None:
        """The call has come to this node."""
        raise NotImplementedError

    def receive(self, run: Run, event: AnyEvent) -> None:
        """Something happened while the call is here."""

    def resume(self, run: Run) -> None:
        """The call goes on here on a new stream; what was under way is gone. By default the node begins anew."""
        run.state.memory = None
        self.enter(run)

    def problems(self, path: str) -> Iterable[Problem]:
        """What the fields' types cannot say; ``path`` is the node's."""
        return ()
