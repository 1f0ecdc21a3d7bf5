"""The way through the flows: which node the call is at, and how it gets from one to the next.

A flow that calls another waits on the stack with its own variables, results and voice; the other begins with
its own variables and the inputs it was given, and gives back the outputs that were asked for. A way out that
leads nowhere ends a called flow by ``next``, and the call's own flow by hanging up.
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

MAX_TRANSITIONS_PER_EVENT = 100  # nodes entered by one event: a flow that walks further never waits for anything


class FlowStack:
    """The flows that the call is in, by the session's state. ``lost``: the last walk came to no end.

    Raises CheckpointError for a state that does not fit the version.
    """

    def __init__(self, version: FlowVersion, context: NodeContext) -> None:
        self.stuck = False
        self._context = context
        self._versions = [version]
        for frame in context.state.stack:
            if frame.reference not in self._versions[-1].subflows:
                raise CheckpointError(f"saved in the flow `{frame.reference}`, which is not there")
            self._versions.append(self._versions[-1].subflows[frame.reference])
        if context.state.node and context.state.node not in self._versions[-1].flow.nodes:
            raise CheckpointError(f"saved at the node `{context.state.node}`, which is not there")
        self._update_global_commands()

    @property
    def node(self) -> Node:
        """The node where the call is."""
        return self._versions[-1].flow.nodes[self._context.state.node]

    def start(self) -> None:
        """Enter the call's own flow."""
        self._enter_node(self._versions[-1].flow.start)

    def has_node(self, name: str) -> bool:
        """Whether there is a node of that name to jump to."""
        return any(name in version.flow.nodes for version in self._versions)

    def jump_to(self, name: str) -> None:
        """Go to the node of that name: in the flow within or, failing that, in the flows around it."""
        for depth in range(len(self._versions) - 1, -1, -1):
            if name in self._versions[depth].flow.nodes:
                self._context.cancel_pending("node")
                self._context.state.operator_transfer_pending = False
                self._context.transition = JumpToNode(depth, name)
                return
        self._context.report_problem(f"there is no node `{name[:64]}` to jump to")

    def run_transitions(self) -> TakeExit | None:
        """Make the moves that nodes ask for. Returns the way out that leads nowhere, if it came to that."""
        run = self._context
        self.stuck = False
        for _ in range(MAX_TRANSITIONS_PER_EVENT):
            move, run.transition = run.transition, None
            if move is None or run.state.pending_hang_up is not None:
                return None
            unled = self._apply(move)
            if unled is not None:
                return unled
        run.transition = None
        run.report_problem(f"the flow went through {MAX_TRANSITIONS_PER_EVENT} nodes without waiting for anything")
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
        run, target = self._context, self.node.target_of(transition.exit_name)
        run.emit("node.left", node=run.state.node, exit=transition.exit_name)
        run.cancel_pending("node")
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
        within = {"flow": state.stack[-1].reference} if state.stack else {}
        self._context.emit("node.entered", node=name, type=self.node.type, **within)
        self.node.on_enter(self._context)

    # Flows within flows

    def _call_subflow(self, transition: CallSubflow) -> None:
        run, state = self._context, self._context.state
        called = self._versions[-1].subflows.get(transition.reference)
        if called is None or len(self._versions) > MAX_FLOW_DEPTH:
            why = "was not there when this version was made" if called is None else "is nested too deeply"
            run.report_problem(f"the flow `{transition.reference[:64]}` {why}")
            run.take_exit("next")
            return
        self._versions.append(called)
        frame = Frame(transition.reference, state.node, state.variables, state.results, state.voice)
        state.stack = [*state.stack, frame]
        state.variables, state.results = dict(called.flow.variables), {}
        for values, sensitive in ((transition.inputs, False), (transition.sensitive_inputs, True)):
            for name, value in values.items():
                run.set_variable(name, value, sensitive=sensitive)
        self._update_global_commands()
        self._enter_node(called.flow.start)

    def _return_from_flow(self, transition: ReturnFromFlow) -> TakeExit | None:
        """Out of a called flow, by the exit of the node that called it."""
        run, state = self._context, self._context.state
        if len(self._versions) == 1:
            run.cancel_pending()
            run.hang_up(disposition=transition.end_name)
            return None
        variables, secrets = {**state.variables, **state.sensitive_variables}, set(state.sensitive_variables)
        self._unwind(len(self._versions) - 2)
        node = self.node
        if isinstance(node, Subflow):
            for outer, inner in node.outputs.items():
                run.set_variable(outer, variables.get(inner), sensitive=inner in secrets)
        run.set_result(value=transition.end_name)
        run.take_exit(transition.end_name)
        return None

    def _unwind(self, depth: int) -> None:
        """Give up the flows within the one at ``depth``."""
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
        """What may be said anywhere: the flow's own first, then what the flows around it add."""
        wishes: dict[str, ActiveGlobalCommand] = {}
        for depth, name, wish in self._iter_global_commands():
            wishes.setdefault(name, ActiveGlobalCommand(wish.phrases, wish.key, wish.go, depth))
        self._context.global_commands = wishes

    def _iter_global_commands(self) -> Iterator[tuple[int, str, GlobalCommand]]:
        for depth in range(len(self._versions) - 1, -1, -1):
            for name, wish in self._versions[depth].flow.anywhere.items():
                yield depth, name, wish
