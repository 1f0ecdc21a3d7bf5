"""What is different between two flow documents: what a promotion would change, or going back to an older version.

The changes lead from one document to the other. Renamings of nodes come first: they are carried out all at once, and
with each node its new name goes to every exit, start and wish that leads there. All that follows speaks of the result,
in the new names: paths, and values ``before`` too. Then whoever carries out the rest has the second document, but for
``layout`` and ``$schema``, at which no call looks, and for the order of keys where it is of no consequence.

Documents are compared as they are written: 1, 1.0 and true are three values, and a default written out is an
addition. Any JSON objects can be compared, in time that grows with their size. Where more would be found than can be
told, the same is told less finely, down to the whole document as one value; nothing is left out.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, Literal, assert_never

import msgspec
from msgspec import UNSET

MAX_CHANGES = 1_000
MAX_RENAMED = 500  # more are told as changes, so that there is room for others
MAX_DEPTH = 20  # levels that are looked into: flows have seven or so, and what a request sends a few more
COARSER = (6, 4, 3, 2, 1, 0)  # levels told apart where there is too much: at 2 whole nodes, at 0 there is one change
MAX_KEY = 100  # characters of a key in a path: with the depth, it keeps a thousand paths small
IGNORED = ("layout", "$schema")
IN_ORDER = re.compile(r"nodes\.\w+\.(values|weights)\Z")  # set and split go through them one after the other

MAX_LINES = 20
MAX_SHOWN = 60  # characters of a value in a summary
SHARED = 20  # of them, how many are before the first that differs
MAX_WRITTEN = 10_000  # characters searched for it
MAX_PIECES = 200  # and words: more than is shown, and as deep as a value is written

_JSON = json.JSONEncoder(ensure_ascii=False)

_Pair = tuple[Any, Any, str]  # what was and what is at a path


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step from the first document to the second.

    ``path`` leads to the place, like a Problem's (``nodes.route.rules[0].when``); a key that would make it ambiguous
    is in brackets and quotes (``headers["a.b"]``), and the whole document's is empty. What is added has no
    ``before``, what is removed no ``after``; of a renamed node they are its names, the path being the old one.
    """

    path: str
    kind: Literal["added", "removed", "changed", "renamed"]
    before: Any = UNSET
    after: Any = UNSET


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """At most ``MAX_CHANGES``, the renamings first, the others in the order in which the second document is read."""
    old, new = ({key: value for key, value in one.items() if key not in IGNORED} for one in (before, after))
    renamed = _renamed(_nodes(old), _nodes(new))
    renamings = [Change(_join("nodes", was), "renamed", was, now) for was, now in renamed.items()]
    pair, room = (_with_names(old, renamed), new, ""), MAX_CHANGES - len(renamings)
    tellings = (list(islice(_changes(pair, told), room + 1)) for told in (MAX_DEPTH, *COARSER))
    return renamings + next(found for found in tellings if len(found) <= room)


def summary(changes: Sequence[Change], most: int = MAX_LINES) -> str:
    """For people: a line for each of the first ``most`` changes, then how many more there are."""
    lines = [_line(change) for change in changes[:most]]
    if len(changes) > most:
        lines.append(f"and {len(changes) - most:,} more")
    return "\n".join(lines) or "no changes"


# Comparing


def _changes(pair: _Pair, told: int, depth: int = 0) -> Iterator[Change]:
    """Changes are told apart down to the depth ``told``, and looked for down to ``MAX_DEPTH``."""
    before, after, path = pair
    parts = _parts(before, after, path) if depth < MAX_DEPTH else None
    if parts is not None and depth < told:
        for part in parts:
            yield from _changes(part, told, depth + 1)
    elif before is UNSET:
        yield Change(path, "added", after=after)
    elif after is UNSET:
        yield Change(path, "removed", before)
    elif parts is not None:
        if any(True for part in parts for _ in _changes(part, MAX_DEPTH, depth + 1)):
            yield Change(path, "changed", before, after)
    elif not _same(before, after) or _reordered(before, after, path):
        yield Change(path, "changed", before, after)


def _parts(before: Any, after: Any, path: str) -> Iterator[_Pair] | None:
    """Objects by key, lists of objects by place; all else is one value, and so is what has too long a key."""
    if isinstance(before, dict) and isinstance(after, dict):
        if _reordered(before, after, path) or any(len(key) > MAX_KEY for key in (*before, *after)):
            return None
        keys = _every(before, after)
        return ((before.get(key, UNSET), after.get(key, UNSET), _join(path, key)) for key in keys)
    if isinstance(before, list) and isinstance(after, list) and all(isinstance(e, dict) for e in (*before, *after)):
        pairs = enumerate(zip_longest(before, after, fillvalue=UNSET))
        return ((one, other, f"{path}[{place}]") for place, (one, other) in pairs)
    return None


def _every(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """All keys in the order of ``after``; those that are gone, behind the one behind which they stood."""
    gone: dict[str | None, list[str]] = {}
    last: str | None = None
    for key in before:
        if key in after:
            last = key
        else:
            gone.setdefault(last, []).append(key)
    yield from gone.get(None, [])
    for key in after:
        yield key
        yield from gone.get(key, [])


def _reordered(before: Any, after: Any, path: str) -> bool:
    """Whether the order matters, and is none that removing keys and adding others at the end would give."""
    if not (isinstance(before, dict) and isinstance(after, dict) and IN_ORDER.match(path)):
        return False
    return [*(key for key in before if key in after), *(key for key in after if key not in before)] != list(after)


def _same(one: Any, other: Any) -> bool:
    """Whether both are written alike; with a stack of its own, since they may be very deep."""
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            if a.keys() != b.keys():
                return False
            pairs += [(a[key], b[key]) for key in a]
        elif isinstance(a, list):
            if len(a) != len(b):
                return False
            pairs += zip(a, b, strict=True)
        elif repr(a) != repr(b) if isinstance(a, float) else a != b:  # a NaN is like another, 0.0 not like -0.0
            return False
    return True


def _join(path: str, key: str) -> str:
    if not key or not key.isprintable() or any(mark in key for mark in '.[]"'):
        return f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
    return f"{path}.{key}" if path else key


# Renamed nodes


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The new names of nodes by their old ones, where what they do leaves no choice which is which.

    No name is in both documents, so no two nodes can change places here, nor one take a name that another gives up:
    whichever nodes are paired, the renamings can be carried out at once, and what they do not explain is a change.
    """
    gone = _by_content({name: node for name, node in old.items() if name not in new})
    come = _by_content({name: node for name, node in new.items() if name not in old})
    pairs = ((names, come.get(content, [])) for content, names in gone.items())
    found = {names[0]: others[0] for names, others in pairs if len(names) == len(others) == 1}
    return found if len(found) <= MAX_RENAMED else {}


def _by_content(nodes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names by what the nodes are, exits between them left open: these may have been renamed together."""
    found: dict[str, list[str]] = {}
    left_open = dict.fromkeys(nodes, "")
    for name, node in nodes.items():
        try:
            content = json.dumps(_leading(node, left_open), sort_keys=True)
        except RecursionError:  # no node is so deep that does anything
            continue
        found.setdefault(content, []).append(name)
    return found


def _with_names(document: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The document with its nodes renamed, also wherever a way leads to them."""
    if not renamed:
        return document
    made = dict(document)
    made["nodes"] = {renamed.get(name, name): _leading(node, renamed) for name, node in _nodes(document).items()}
    if "start" in made:
        made["start"] = _now(made["start"], renamed)
    if isinstance(wishes := made.get("anywhere"), dict):
        made["anywhere"] = {name: _wish(wish, renamed) for name, wish in wishes.items()}
    return made


def _nodes(document: Mapping[str, Any]) -> dict[str, Any]:
    nodes = document.get("nodes")
    return nodes if isinstance(nodes, dict) else {}


def _leading(node: Any, renamed: Mapping[str, str]) -> Any:
    exits = node.get("exits") if isinstance(node, dict) else None
    if not isinstance(exits, dict):
        return node
    return {**node, "exits": {name: _now(target, renamed) for name, target in exits.items()}}


def _wish(wish: Any, renamed: Mapping[str, str]) -> Any:
    return {**wish, "go": _now(wish["go"], renamed)} if isinstance(wish, dict) and "go" in wish else wish


def _now(target: Any, renamed: Mapping[str, str]) -> Any:
    return renamed.get(target, target) if isinstance(target, str) else target


# Telling


def _line(change: Change) -> str:
    where = change.path or "document"
    match change.kind:
        case "added":
            return f"{where}: added {_shown(_written(change.after))}"
        case "removed":
            return f"{where}: removed {_shown(_written(change.before))}"
        case "renamed":
            return f"{where}: renamed to {_shown(_join('', change.after))}"
        case "changed":
            before, after = _written(change.before), _written(change.after)
            differs = _first_difference(before, after)
            return f"{where}: {_shown(before, differs)} -> {_shown(after, differs)}"
        case _:
            assert_never(change.kind)


def _written(value: Any) -> str:
    """As JSON on one line, as much of it as is looked at; what a terminal might obey is written as an escape."""
    pieces = _JSON.iterencode(value)
    text = "".join(islice(pieces, MAX_PIECES))
    if len(text) > MAX_WRITTEN or next(pieces, None) is not None:
        text = f"{text[:MAX_WRITTEN]}…"
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)


def _first_difference(one: str, other: str) -> int:
    """Where it is; 0 if it lies further on than was written."""
    both = enumerate(zip_longest(one, other))
    return next((place for place, (a, b) in both if a != b), 0)


def _shown(text: str, differs: int = 0) -> str:
    """``MAX_SHOWN`` characters, among them where it differs: long texts are often the same at their beginning."""
    begin = differs - SHARED if differs > MAX_SHOWN - SHARED and len(text) > MAX_SHOWN else 0
    end = begin + MAX_SHOWN
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
