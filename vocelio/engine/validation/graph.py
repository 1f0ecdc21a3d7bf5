"""Checks of the flow graph: exits and their targets, unreachable nodes, endless loops."""

from collections.abc import Iterator

from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.engine.flow import REPEAT_TARGET
from vocelio.engine.nodes.collect import Collect
from vocelio.engine.validation.partial_flow import PartialFlow

MAX_REPORTED_LOOPS = 20  # of one flow: each costs a walk over all nodes


def check_graph(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    """Check the start node, exits and global commands, reachability and loops."""
    _check_start(flow, diagnostics)
    _check_exits(flow, diagnostics)
    _check_global_commands(flow, diagnostics)
    _check_reachable(flow, diagnostics)
    for loop in _find_loops(flow):
        if diagnostics.is_full:
            return
        path = " -> ".join(f"`{name}`" for name in (*loop, loop[0])) if len(loop) <= 6 else f"{len(loop)} nodes"
        message = f"the call can loop through {path} without ever waiting for the caller"
        diagnostics.error(f"nodes.{loop[0]}", "endless-loop", message, "put a collect or a wait into the loop")


def _check_start(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    if flow.start is not None and flow.start not in flow.exits_by_node:
        message = f"`start` names a node that does not exist: `{truncate(flow.start)}`"
        diagnostics.unknown_word("start", "no-such-node", message, flow.start, flow.exits_by_node)


def _check_exits(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    for name, links in flow.exits_by_node.items():
        node = flow.nodes.get(name)
        possible_exits = node.possible_exits() if node else None
        for exit_name, target in links.items():
            path = f"nodes.{truncate(name)}.exits.{truncate(exit_name)}"
            if node and possible_exits is not None and exit_name not in possible_exits:
                message = f"this {node.type} node has no exit `{truncate(exit_name)}`"
                diagnostics.unknown_word(path, "no-such-exit", message, exit_name, possible_exits)
            if target not in flow.exits_by_node:
                message = f"leads to a node that does not exist: `{truncate(target)}`"
                diagnostics.unknown_word(path, "no-such-node", message, target, flow.exits_by_node)
        if isinstance(node, Collect):
            for exit_name in node.possible_exits():
                if exit_name not in links:
                    path = f"nodes.{truncate(name)}.exits.{truncate(exit_name)}"
                    diagnostics.warning(path, "unconnected-exit", "this exit has no target: the call ends there")
        if diagnostics.is_full:
            return


def _check_global_commands(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    keys: dict[str, str] = {}
    for name, command in flow.global_commands.items():
        path = f"anywhere.{truncate(name)}"
        if command.go != REPEAT_TARGET and command.go not in flow.exits_by_node:
            message = f"leads to a node that does not exist: `{truncate(command.go)}`"
            diagnostics.unknown_word(
                f"{path}.go", "no-such-node", message, command.go, (REPEAT_TARGET, *flow.exits_by_node)
            )
        if not command.phrases and not command.key:
            diagnostics.error(path, "no-phrase-or-key", "needs phrases or a key")
        if command.key and command.key in keys:
            diagnostics.error(f"{path}.key", "duplicate-key", f"key {command.key} already means `{keys[command.key]}`")
        keys.setdefault(command.key, name)


def _check_reachable(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    if flow.start not in flow.exits_by_node:
        return
    queue = [flow.start, *(command.go for command in flow.global_commands.values())]
    reached: set[str] = set()
    while queue:
        name = queue.pop()
        if name in flow.exits_by_node and name not in reached:
            reached.add(name)
            queue.extend(flow.exits_by_node[name].values())
    for name in flow.exits_by_node:
        if name not in reached:
            diagnostics.warning(f"nodes.{truncate(name)}", "unreachable", "no exit leads to this node")


def _find_loops(flow: PartialFlow) -> Iterator[list[str]]:
    """Yield disjoint loops of nodes that do not wait. Each starts with its first node in the document."""
    successors = {
        name: {target for target in links.values() if not flow.waits_by_node.get(target, True)}
        for name, links in flow.exits_by_node.items()
        if not flow.waits_by_node[name]
    }
    order = {name: index for index, name in enumerate(flow.exits_by_node)}
    for _ in range(MAX_REPORTED_LOOPS):
        _remove_dead_ends(successors)
        if not successors:
            return
        loop = _follow_loop(next(iter(successors)), successors)
        first = loop.index(min(loop, key=order.__getitem__))
        yield loop[first:] + loop[:first]
        for name in loop:
            del successors[name]


def _remove_dead_ends(successors: dict[str, set[str]]) -> None:
    """Remove nodes without successors until none is left: every other node leads into a loop."""
    predecessors: dict[str, set[str]] = {}
    for name, targets in successors.items():
        targets.intersection_update(successors)
        for target in targets:
            predecessors.setdefault(target, set()).add(name)
    dead_ends = [name for name, targets in successors.items() if not targets]
    while dead_ends:
        dead_end = dead_ends.pop()
        del successors[dead_end]
        for name in predecessors.get(dead_end, ()):
            successors[name].discard(dead_end)
            if not successors[name]:
                dead_ends.append(name)


def _follow_loop(start: str, successors: dict[str, set[str]]) -> list[str]:
    visited: dict[str, None] = {}
    name = start
    while name not in visited:
        visited[name] = None
        name = min(successors[name])
    path = list(visited)
    return path[path.index(name) :]
