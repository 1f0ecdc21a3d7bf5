"""What every node type is: a document's struct that also knows how to behave.

A node type is one file in ``nodes/``: the fields of the document, and what happens when a call enters the
node and when something happens to the call there. It keeps what it must remember in ``run.memory(...)``, since
the node itself is shared by all calls of the version.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent
from vocelio.engine.runtime.node_context import NodeContext


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The common part. ``exits`` leads from the names of ways out to the names of nodes.

    ``waits``: the node waits for the caller, for a person or for time, so a loop through it is none without end.
    ``results`` are the names that templates read as ``{{ node.name }}``; ``field_names`` those that a field's own
    templates can read besides.
    """

    type: ClassVar[str] = ""
    exit_names: ClassVar[tuple[str, ...]] = ("next",)
    waits: ClassVar[bool] = False
    result_names: ClassVar[tuple[str, ...]] = ()
    local_names: ClassVar[Mapping[str, str]] = {}

    exits: dict[str, str] = {}

    def possible_exits(self) -> tuple[str, ...]:
        """The exits that this node can leave by."""
        return self.exit_names

    def target_of(self, exit_name: str) -> str | None:
        """The node to which the exit leads; None where it is left out."""
        return self.exits.get(exit_name)

    def assigned_variables(self) -> tuple[str, ...]:
        """The flow's variables that this node sets."""
        return ()

    @property
    def input_is_sensitive(self) -> bool:
        """True when what the caller says or presses here must not be kept."""
        return False

    def on_enter(self, context: NodeContext) -> None:
        """The call has come to this node."""
        raise NotImplementedError

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        """Something happened while the call is here."""

    def on_resume(self, context: NodeContext) -> None:
        """The call goes on here on a new stream; what was under way is gone. By default the node begins anew."""
        context.state.private.node_memory = None
        self.on_enter(context)

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        """What the fields' types cannot say; ``path`` is the node's."""
        return ()
