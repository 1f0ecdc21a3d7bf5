"""Checks of how a flow hangs together: exits, nodes that nothing leads to, loops without end."""

from collections.abc import Iterator

from vocelio.engine.diagnostics import Report, short
from vocelio.engine.flow import REPEAT
from vocelio.engine.nodes.collect import Collect
from vocelio.engine.validation.partial_flow import Draft

MAX_LOOPS = 20  # told of one flow: each costs a walk over all nodes


def check_wiring(draft: Draft, report: Report) -> None:
    """Everything that leads from one node to another."""
    _start(draft, report)
    _exits(draft, report)
    _anywhere(draft, report)
    _unreachable(draft, report)
    for loop in _loops(draft):
        if report.full:
            return
        way = " -> ".join(f"`{name}`" for name in (*loop, loop[0])) if len(loop) <= 6 else f"{len(loop)} nodes"
        message = f"the call can go round {way} without ever waiting for the caller"
        report.error(f"nodes.{loop[0]}", "endless-loop", message, "put a collect or a wait into the loop")


def _start(draft: Draft, report: Report) -> None:
    if draft.start is not None and draft.start not in draft.links:
        message = f"`start` names a node that does not exist: `{short(draft.start)}`"
        report.unknown("start", "no-such-node", message, draft.start, draft.links)


def _exits(draft: Draft, report: Report) -> None:
    for name, links in draft.links.items():
        node = draft.nodes.get(name)
        ways_out = node.ways_out() if node else None
        for exit_name, target in links.items():
            path = f"nodes.{short(name)}.exits.{short(exit_name)}"
            if node and ways_out is not None and exit_name not in ways_out:
                message = f"this {node.type} node never leaves by `{short(exit_name)}`"
                report.unknown(path, "no-such-exit", message, exit_name, ways_out)
            if target not in draft.links:
                message = f"leads to a node that does not exist: `{short(target)}`"
                report.unknown(path, "no-such-node", message, target, draft.links)
        if isinstance(node, Collect):
            for exit_name in node.ways_out():
                if exit_name not in links:
                    path = f"nodes.{short(name)}.exits.{short(exit_name)}"
                    report.warning(path, "unwired", "this exit is left out: the call ends there")
        if report.full:
            return


def _anywhere(draft: Draft, report: Report) -> None:
    keys: dict[str, str] = {}
    for name, wish in draft.anywhere.items():
        path = f"anywhere.{short(name)}"
        if wish.go != REPEAT and wish.go not in draft.links:
            message = f"leads to a node that does not exist: `{short(wish.go)}`"
            report.unknown(f"{path}.go", "no-such-node", message, wish.go, (REPEAT, *draft.links))
        if not wish.phrases and not wish.key:
            report.error(path, "no-way-to-choose", "needs phrases or a key")
        if wish.key and wish.key in keys:
            report.error(f"{path}.key", "duplicate-key", f"key {wish.key} already means `{keys[wish.key]}`")
        keys.setdefault(wish.key, name)


def _unreachable(draft: Draft, report: Report) -> None:
    if draft.start not in draft.links:
        return
    ahead = [draft.start, *(wish.go for wish in draft.anywhere.values())]
    reached: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name in draft.links and name not in reached:
            reached.add(name)
            ahead.extend(draft.links[name].values())
    for name in draft.links:
        if name not in reached:
            report.warning(f"nodes.{short(name)}", "unreachable", "nothing leads to this node")


def _loops(draft: Draft) -> Iterator[list[str]]:
    """Loops of nodes none of which waits, one after another; each begins with its first node in the document."""
    ahead = {
        name: {target for target in links.values() if not draft.waits.get(target, True)}
        for name, links in draft.links.items()
        if not draft.waits[name]
    }
    order = {name: place for place, name in enumerate(draft.links)}
    for _ in range(MAX_LOOPS):
        _peel(ahead)
        if not ahead:
            return
        loop = _loop_from(next(iter(ahead)), ahead)
        first = loop.index(min(loop, key=order.__getitem__))
        yield loop[first:] + loop[:first]
        for name in loop:
            del ahead[name]


def _peel(ahead: dict[str, set[str]]) -> None:
    """Take away, again and again, the nodes that lead nowhere: what is left leads into loops."""
    behind: dict[str, set[str]] = {}
    for name, targets in ahead.items():
        targets.intersection_update(ahead)
        for target in targets:
            behind.setdefault(target, set()).add(name)
    ends = [name for name, targets in ahead.items() if not targets]
    while ends:
        end = ends.pop()
        del ahead[end]
        for name in behind.get(end, ()):
            ahead[name].discard(end)
            if not ahead[name]:
                ends.append(name)


def _loop_from(start: str, ahead: dict[str, set[str]]) -> list[str]:
    way: dict[str, None] = {}
    name = start
    while name not in way:
        way[name] = None
        name = min(ahead[name])
    every = list(way)
    return every[every.index(name) :]
