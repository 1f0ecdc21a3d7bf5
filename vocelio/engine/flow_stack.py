"""The way through the flows: which node the call is at, and how it gets from one to the next.

A flow that calls another waits on the stack with its own variables, results and voice; the other begins with
its own variables and the inputs it was given, and gives back the outputs that were asked for. A way out that
leads nowhere ends a called flow by ``next``, and the call's own flow by hanging up.
"""

from collections.abc import Iterator
from typing import assert_never

from vocelio.engine.errors import CheckpointError
from vocelio.engine.flow import MAX_NESTING, Anywhere, FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.runtime.node_context import Run, Wish
from vocelio.engine.runtime.state import Frame
from vocelio.engine.runtime.transitions import Enter, Finish, Jump, Leave, Move

MAX_STEPS = 100  # nodes entered by one event: a flow that walks further never waits for anything


class Travel:
    """The flows that the call is in, by the session's state. ``lost``: the last walk came to no end.

    Raises CheckpointError for a state that does not fit the version.
    """

    def __init__(self, version: FlowVersion, run: Run) -> None:
        self.lost = False
        self._run = run
        self._versions = [version]
        for frame in run.state.stack:
            if frame.reference not in self._versions[-1].subflows:
                raise CheckpointError(f"saved in the flow `{frame.reference}`, which is not there")
            self._versions.append(self._versions[-1].subflows[frame.reference])
        if run.state.node and run.state.node not in self._versions[-1].flow.nodes:
            raise CheckpointError(f"saved at the node `{run.state.node}`, which is not there")
        self._wish()

    @property
    def node(self) -> Node:
        """The node where the call is."""
        return self._versions[-1].flow.nodes[self._run.state.node]

    def begin(self) -> None:
        """Enter the call's own flow."""
        self._enter(self._versions[-1].flow.start)

    def knows(self, name: str) -> bool:
        """Whether there is a node of that name to jump to."""
        return any(name in version.flow.nodes for version in self._versions)

    def jump_to(self, name: str) -> None:
        """Go to the node of that name: in the flow within or, failing that, in the flows around it."""
        for depth in range(len(self._versions) - 1, -1, -1):
            if name in self._versions[depth].flow.nodes:
                self._run.drop_all("node")
                self._run.state.commanded = False
                self._run.move = Jump(depth, name)
                return
        self._run.problem(f"there is no node `{name[:64]}` to jump to")

    def walk(self) -> Leave | None:
        """Make the moves that nodes ask for. Returns the way out that leads nowhere, if it came to that."""
        run = self._run
        self.lost = False
        for _ in range(MAX_STEPS):
            move, run.move = run.move, None
            if move is None or run.state.closing is not None:
                return None
            unled = self._make(move)
            if unled is not None:
                return unled
        run.move = None
        run.problem(f"the flow went through {MAX_STEPS} nodes without waiting for anything")
        self.lost = True
        return None

    def _make(self, move: Move) -> Leave | None:
        match move:
            case Leave():
                return self._leave(move)
            case Enter():
                self._call(move)
            case Finish():
                return self._finish(move)
            case Jump():
                self._run.drop_all("node")
                self._unwind(move.depth)
                self._enter(move.node)
            case _:
                assert_never(move)
        return None

    def _leave(self, move: Leave) -> Leave | None:
        run, target = self._run, self.node.exit_taken(move.exit)
        run.note("node.left", node=run.state.node, exit=move.exit)
        run.drop_all("node")
        if target is not None:
            self._enter(target)
            return None
        if len(self._versions) > 1 and move.goodbye:
            return self._finish(Finish("next"))
        return move

    def _enter(self, name: str) -> None:
        state = self._run.state
        state.node, state.private.memory, state.noted = name, None, []
        state.visits += 1
        within = {"flow": state.stack[-1].reference} if state.stack else {}
        self._run.note("node.entered", node=name, type=self.node.type, **within)
        self.node.enter(self._run)

    # Flows within flows

    def _call(self, move: Enter) -> None:
        run, state = self._run, self._run.state
        called = self._versions[-1].subflows.get(move.reference)
        if called is None or len(self._versions) > MAX_NESTING:
            why = "was not there when this version was made" if called is None else "is nested too deeply"
            run.problem(f"the flow `{move.reference[:64]}` {why}")
            run.leave("next")
            return
        self._versions.append(called)
        frame = Frame(move.reference, state.node, state.variables, state.results, state.voice)
        state.stack = [*state.stack, frame]
        state.variables, state.results = dict(called.flow.variables), {}
        for values, sensitive in ((move.inputs, False), (move.private, True)):
            for name, value in values.items():
                run.set(name, value, sensitive=sensitive)
        self._wish()
        self._enter(called.flow.start)

    def _finish(self, move: Finish) -> Leave | None:
        """Out of a called flow, by the exit of the node that called it."""
        run, state = self._run, self._run.state
        if len(self._versions) == 1:
            run.drop_all()
            run.hang_up(disposition=move.name)
            return None
        variables, secrets = {**state.variables, **state.secrets}, set(state.secrets)
        self._unwind(len(self._versions) - 2)
        node = self.node
        if isinstance(node, Subflow):
            for outer, inner in node.outputs.items():
                run.set(outer, variables.get(inner), sensitive=inner in secrets)
        run.result(value=move.name)
        run.leave(move.name)
        return None

    def _unwind(self, depth: int) -> None:
        """Give up the flows within the one at ``depth``."""
        state = self._run.state
        if depth < len(state.stack):
            frame = state.stack[depth]
            state.node, state.voice = frame.node, frame.voice
            state.variables, state.results = frame.variables, frame.results
            state.stack = state.stack[:depth]
            state.private.variables = state.private.variables[: depth + 1]
            del self._versions[depth + 1 :]
            self._wish()

    def _wish(self) -> None:
        """What may be said anywhere: the flow's own first, then what the flows around it add."""
        wishes: dict[str, Wish] = {}
        for depth, name, wish in self._wishes():
            wishes.setdefault(name, Wish(wish.phrases, wish.key, wish.go, depth))
        self._run.wishes = wishes

    def _wishes(self) -> Iterator[tuple[int, str, Anywhere]]:
        for depth in range(len(self._versions) - 1, -1, -1):
            for name, wish in self._versions[depth].flow.anywhere.items():
                yield depth, name, wish
