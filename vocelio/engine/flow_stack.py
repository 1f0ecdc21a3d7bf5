"""FlowStack: the current node, the stack of subflow calls, and the transitions between nodes.

A calling flow waits on the stack with its variables, results and voice. The called flow starts with its own variables
and the given inputs, and returns the requested outputs. An exit that is not connected returns from a subflow by
``next``, and hangs up in the call's own flow.
"""

from collections.abc import Iterator
from typing import assert_never

from vocelio.engine.errors import CheckpointError
from vocelio.engine.flow import MAX_FLOW_DEPTH, FlowVersion, GlobalCommand
from vocelio.engine.node import Node
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.runtime.node_context import (
    ActiveGlobalCommand,
    CallSubflow,
    JumpToNode,
    NodeContext,
    ReturnFromFlow,
    TakeExit,
    Transition,
)
from vocelio.engine.runtime.state import Frame

MAX_TRANSITIONS_PER_EVENT = 100  # nodes entered by one event: a flow that needs more never waits for anything


class FlowStack:
    """The active flows of a call. ``stuck``: the last transitions did not come to an end.

    Raises CheckpointError for a state that does not match the version.
    """

    def __init__(self, version: FlowVersion, context: NodeContext) -> None:
        self.stuck = False
        self._context = context
        self._versions = [version]
        for frame in context.state.stack:
            if frame.reference not in self._versions[-1].subflows:
                raise CheckpointError(f"saved in the flow `{frame.reference}`, which does not exist in this version")
            self._versions.append(self._versions[-1].subflows[frame.reference])
        if context.state.node and context.state.node not in self._versions[-1].flow.nodes:
            raise CheckpointError(f"saved at the node `{context.state.node}`, which does not exist in this version")
        self._update_global_commands()

    @property
    def node(self) -> Node:
        """The current node."""
        return self._versions[-1].flow.nodes[self._context.state.node]

    def start(self) -> None:
        """Enter the start node of the call's own flow."""
        self._enter_node(self._versions[-1].flow.start)

    def has_node(self, name: str) -> bool:
        """Return True if an active flow has a node of that name."""
        return any(name in version.flow.nodes for version in self._versions)

    def jump_to(self, name: str) -> None:
        """Jump to the node of that name, in the innermost flow that has one."""
        for depth in range(len(self._versions) - 1, -1, -1):
            if name in self._versions[depth].flow.nodes:
                self._context.cancel_pending("node")
                self._context.state.operator_transfer_pending = False
                self._context.transition = JumpToNode(depth, name)
                return
        self._context.report_problem(f"there is no node `{name[:64]}` to jump to")

    def run_transitions(self) -> TakeExit | None:
        """Carry out the transitions that nodes request. Returns the exit taken if it is not connected."""
        context = self._context
        self.stuck = False
        for _ in range(MAX_TRANSITIONS_PER_EVENT):
            transition, context.transition = context.transition, None
            if transition is None or context.state.pending_hang_up is not None:
                return None
            unconnected = self._apply(transition)
            if unconnected is not None:
                return unconnected
        context.transition = None
        context.report_problem(f"the flow went through {MAX_TRANSITIONS_PER_EVENT} nodes without waiting for anything")
        self.stuck = True
        return None

    def _apply(self, transition: Transition) -> TakeExit | None:
        match transition:
            case TakeExit():
                return self._take_exit(transition)
            case CallSubflow():
                self._call_subflow(transition)
            case ReturnFromFlow():
                return self._return_from_flow(transition)
            case JumpToNode():
                self._context.cancel_pending("node")
                self._unwind(transition.depth)
                self._enter_node(transition.node)
            case _:
                assert_never(transition)
        return None

    def _take_exit(self, transition: TakeExit) -> TakeExit | None:
        context, target = self._context, self.node.target_of(transition.exit_name)
        context.emit("node.left", node=context.state.node, exit=transition.exit_name)
        context.cancel_pending("node")
        if target is not None:
            self._enter_node(target)
            return None
        if len(self._versions) > 1 and transition.say_goodbye:
            return self._return_from_flow(ReturnFromFlow("next"))
        return transition

    def _enter_node(self, name: str) -> None:
        state = self._context.state
        state.node, state.private.node_memory, state.reported_problems = name, None, []
        state.visit_count += 1
        subflow = {"flow": state.stack[-1].reference} if state.stack else {}
        self._context.emit("node.entered", node=name, type=self.node.type, **subflow)
        self.node.on_enter(self._context)

    # Subflows

    def _call_subflow(self, transition: CallSubflow) -> None:
        context, state = self._context, self._context.state
        called = self._versions[-1].subflows.get(transition.reference)
        if called is None or len(self._versions) > MAX_FLOW_DEPTH:
            reason = "did not exist when this version was made" if called is None else "is nested too deeply"
            context.report_problem(f"the flow `{transition.reference[:64]}` {reason}")
            context.take_exit("next")
            return
        self._versions.append(called)
        frame = Frame(transition.reference, state.node, state.variables, state.results, state.voice)
        state.stack = [*state.stack, frame]
        state.variables, state.results = dict(called.flow.variables), {}
        for values, sensitive in ((transition.inputs, False), (transition.sensitive_inputs, True)):
            for name, value in values.items():
                context.set_variable(name, value, sensitive=sensitive)
        self._update_global_commands()
        self._enter_node(called.flow.start)

    def _return_from_flow(self, transition: ReturnFromFlow) -> TakeExit | None:
        """Return from a subflow, or hang up in the call's own flow."""
        context, state = self._context, self._context.state
        if len(self._versions) == 1:
            context.cancel_pending()
            context.hang_up(disposition=transition.end_name)
            return None
        variables, sensitive_names = {**state.variables, **state.sensitive_variables}, set(state.sensitive_variables)
        self._unwind(len(self._versions) - 2)
        node = self.node
        if isinstance(node, Subflow):
            for outer, inner in node.outputs.items():
                context.set_variable(outer, variables.get(inner), sensitive=inner in sensitive_names)
        context.set_result(value=transition.end_name)
        context.take_exit(transition.end_name)
        return None

    def _unwind(self, depth: int) -> None:
        """Leave all flows above ``depth``."""
        state = self._context.state
        if depth < len(state.stack):
            frame = state.stack[depth]
            state.node, state.voice = frame.node, frame.voice
            state.variables, state.results = frame.variables, frame.results
            state.stack = state.stack[:depth]
            state.private.variables = state.private.variables[: depth + 1]
            del self._versions[depth + 1 :]
            self._update_global_commands()

    def _update_global_commands(self) -> None:
        """Collect the global commands: those of inner flows override those of outer ones."""
        commands: dict[str, ActiveGlobalCommand] = {}
        for depth, name, command in self._iter_global_commands():
            commands.setdefault(name, ActiveGlobalCommand(command.phrases, command.key, command.go, depth))
        self._context.global_commands = commands

    def _iter_global_commands(self) -> Iterator[tuple[int, str, GlobalCommand]]:
        for depth in range(len(self._versions) - 1, -1, -1):
            for name, command in self._versions[depth].flow.anywhere.items():
                yield depth, name, command
