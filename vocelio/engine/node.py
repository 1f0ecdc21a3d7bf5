"""Base class of the node types.

A node type is one file in ``nodes/``: a struct with the document's fields and handlers for entering the node and for
events. A node is shared by all calls of its version, so it must keep its state in ``context.memory(...)``.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.events import AnyEvent
from vocelio.engine.runtime.node_context import NodeContext


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A node. ``exits`` maps exit names to the names of the next nodes.

    ``waits``: the node waits for the caller, a person or time, so a loop through it is not an endless loop.
    ``result_names`` can be read by templates as ``{{ node.name }}``; ``local_names`` maps a field to the additional
    name that only its own template can read.
    """

    type: ClassVar[str] = ""
    exit_names: ClassVar[tuple[str, ...]] = ("next",)
    waits: ClassVar[bool] = False
    result_names: ClassVar[tuple[str, ...]] = ()
    local_names: ClassVar[Mapping[str, str]] = {}

    exits: dict[str, str] = {}

    def possible_exits(self) -> tuple[str, ...]:
        """The exits that this node can take."""
        return self.exit_names

    def target_of(self, exit_name: str) -> str | None:
        """The node that the exit leads to; None if the exit is not connected."""
        return self.exits.get(exit_name)

    def assigned_variables(self) -> tuple[str, ...]:
        """The flow variables that this node sets."""
        return ()

    @property
    def input_is_sensitive(self) -> bool:
        """True when the caller's input at this node must not be stored."""
        return False

    def on_enter(self, context: NodeContext) -> None:
        """Handle the call's arrival at this node."""
        raise NotImplementedError

    def on_event(self, context: NodeContext, event: AnyEvent) -> None:
        """Handle an event while the call is at this node."""

    def on_resume(self, context: NodeContext) -> None:
        """Continue here on a new stream; pending operations are lost. By default the node starts again."""
        context.state.private.node_memory = None
        self.on_enter(context)

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        """Check what the fields' types cannot express; ``path`` is the node's path."""
        return ()
