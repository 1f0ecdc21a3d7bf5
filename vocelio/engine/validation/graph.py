"""Checks of how a flow hangs together: exits, nodes that nothing leads to, loops without end."""

from collections.abc import Iterator

from vocelio.engine.diagnostics import Diagnostics, truncate
from vocelio.engine.flow import REPEAT_TARGET
from vocelio.engine.nodes.collect import Collect
from vocelio.engine.validation.partial_flow import PartialFlow

MAX_REPORTED_LOOPS = 20  # told of one flow: each costs a walk over all nodes


def check_graph(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    """Everything that leads from one node to another."""
    _check_start(flow, diagnostics)
    _check_exits(flow, diagnostics)
    _check_global_commands(flow, diagnostics)
    _check_reachable(flow, diagnostics)
    for loop in _find_loops(flow):
        if diagnostics.is_full:
            return
        way = " -> ".join(f"`{name}`" for name in (*loop, loop[0])) if len(loop) <= 6 else f"{len(loop)} nodes"
        message = f"the call can go round {way} without ever waiting for the caller"
        diagnostics.error(f"nodes.{loop[0]}", "endless-loop", message, "put a collect or a wait into the loop")


def _check_start(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    if flow.start is not None and flow.start not in flow.exits_by_node:
        message = f"`start` names a node that does not exist: `{truncate(flow.start)}`"
        diagnostics.unknown_word("start", "no-such-node", message, flow.start, flow.exits_by_node)


def _check_exits(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    for name, links in flow.exits_by_node.items():
        node = flow.nodes.get(name)
        ways_out = node.possible_exits() if node else None
        for exit_name, target in links.items():
            path = f"nodes.{truncate(name)}.exits.{truncate(exit_name)}"
            if node and ways_out is not None and exit_name not in ways_out:
                message = f"this {node.type} node never leaves by `{truncate(exit_name)}`"
                diagnostics.unknown_word(path, "no-such-exit", message, exit_name, ways_out)
            if target not in flow.exits_by_node:
                message = f"leads to a node that does not exist: `{truncate(target)}`"
                diagnostics.unknown_word(path, "no-such-node", message, target, flow.exits_by_node)
        if isinstance(node, Collect):
            for exit_name in node.possible_exits():
                if exit_name not in links:
                    path = f"nodes.{truncate(name)}.exits.{truncate(exit_name)}"
                    diagnostics.warning(path, "unconnected-exit", "this exit is left out: the call ends there")
        if diagnostics.is_full:
            return


def _check_global_commands(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    keys: dict[str, str] = {}
    for name, wish in flow.global_commands.items():
        path = f"anywhere.{truncate(name)}"
        if wish.go != REPEAT_TARGET and wish.go not in flow.exits_by_node:
            message = f"leads to a node that does not exist: `{truncate(wish.go)}`"
            diagnostics.unknown_word(
                f"{path}.go", "no-such-node", message, wish.go, (REPEAT_TARGET, *flow.exits_by_node)
            )
        if not wish.phrases and not wish.key:
            diagnostics.error(path, "no-phrase-or-key", "needs phrases or a key")
        if wish.key and wish.key in keys:
            diagnostics.error(f"{path}.key", "duplicate-key", f"key {wish.key} already means `{keys[wish.key]}`")
        keys.setdefault(wish.key, name)


def _check_reachable(flow: PartialFlow, diagnostics: Diagnostics) -> None:
    if flow.start not in flow.exits_by_node:
        return
    ahead = [flow.start, *(wish.go for wish in flow.global_commands.values())]
    reached: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name in flow.exits_by_node and name not in reached:
            reached.add(name)
            ahead.extend(flow.exits_by_node[name].values())
    for name in flow.exits_by_node:
        if name not in reached:
            diagnostics.warning(f"nodes.{truncate(name)}", "unreachable", "nothing leads to this node")


def _find_loops(flow: PartialFlow) -> Iterator[list[str]]:
    """Loops of nodes none of which waits, one after another; each begins with its first node in the document."""
    ahead = {
        name: {target for target in links.values() if not flow.waits_by_node.get(target, True)}
        for name, links in flow.exits_by_node.items()
        if not flow.waits_by_node[name]
    }
    order = {name: place for place, name in enumerate(flow.exits_by_node)}
    for _ in range(MAX_REPORTED_LOOPS):
        _remove_dead_ends(ahead)
        if not ahead:
            return
        loop = _follow_loop(next(iter(ahead)), ahead)
        first = loop.index(min(loop, key=order.__getitem__))
        yield loop[first:] + loop[:first]
        for name in loop:
            del ahead[name]


def _remove_dead_ends(successors: dict[str, set[str]]) -> None:
    """Take away, again and again, the nodes that lead nowhere: what is left leads into loops."""
    behind: dict[str, set[str]] = {}
    for name, targets in successors.items():
        targets.intersection_update(successors)
        for target in targets:
            behind.setdefault(target, set()).add(name)
    ends = [name for name, targets in successors.items() if not targets]
    while ends:
        end = ends.pop()
        del successors[end]
        for name in behind.get(end, ()):
            successors[name].discard(end)
            if not successors[name]:
                ends.append(name)


def _follow_loop(start: str, successors: dict[str, set[str]]) -> list[str]:
    way: dict[str, None] = {}
    name = start
    while name not in way:
        way[name] = None
        name = min(successors[name])
    every = list(way)
    return every[every.index(name) :]
