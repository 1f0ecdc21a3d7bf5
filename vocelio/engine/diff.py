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
MAX_RENAMES = 500  # more are told as changes, so that there is room for others
MAX_DEPTH = 20  # levels that are looked into: flows have seven or so, and what a request sends a few more
COARSER_DEPTHS = (
    6,
    4,
    3,
    2,
    1,
    0,
)  # levels told apart where there is too much: at 2 whole nodes, at 0 there is one change
MAX_KEY_CHARACTERS = 100  # characters of a key in a path: with the depth, it keeps a thousand paths small
IGNORED_FIELDS = ("layout", "$schema")
ORDERED_OBJECT_PATHS = re.compile(
    r"nodes\.\w+\.(values|weights)\Z"
)  # set and split go through them one after the other

MAX_SUMMARY_LINES = 20
MAX_VALUE_CHARACTERS = 60  # characters of a value in a summary
SHARED_PREFIX_CHARACTERS = 20  # of them, how many are before the first that differs
MAX_SEARCHED_CHARACTERS = 10_000  # characters searched for it
MAX_JSON_CHUNKS = 200  # and words: more than is shown, and as deep as a value is written

_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False)

_ValuePair = tuple[Any, Any, str]  # what was and what is at a path


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


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """At most ``MAX_CHANGES``, the renamings first, the others in the order in which the second document is read."""
    old, new = ({key: value for key, value in one.items() if key not in IGNORED_FIELDS} for one in (before, after))
    renamed = _find_renamed_nodes(_nodes_of(old), _nodes_of(new))
    renamings = [Change(_join_path("nodes", was), "renamed", was, now) for was, now in renamed.items()]
    pair, room = (_apply_renames(old, renamed), new, ""), MAX_CHANGES - len(renamings)
    tellings = (list(islice(_iter_changes(pair, told), room + 1)) for told in (MAX_DEPTH, *COARSER_DEPTHS))
    return renamings + next(found for found in tellings if len(found) <= room)


def format_summary(changes: Sequence[Change], max_lines: int = MAX_SUMMARY_LINES) -> str:
    """For people: a line for each of the first ``most`` changes, then how many more there are."""
    lines = [_format_change(change) for change in changes[:max_lines]]
    if len(changes) > max_lines:
        lines.append(f"and {len(changes) - max_lines:,} more")
    return "\n".join(lines) or "no changes"


# Comparing


def _iter_changes(pair: _ValuePair, max_depth: int, depth: int = 0) -> Iterator[Change]:
    """Changes are told apart down to the depth ``told``, and looked for down to ``MAX_DEPTH``."""
    before, after, path = pair
    parts = _child_pairs(before, after, path) if depth < MAX_DEPTH else None
    if parts is not None and depth < max_depth:
        for part in parts:
            yield from _iter_changes(part, max_depth, depth + 1)
    elif before is UNSET:
        yield Change(path, "added", after=after)
    elif after is UNSET:
        yield Change(path, "removed", before)
    elif parts is not None:
        if any(True for part in parts for _ in _iter_changes(part, MAX_DEPTH, depth + 1)):
            yield Change(path, "changed", before, after)
    elif not _is_written_alike(before, after) or _is_reordered(before, after, path):
        yield Change(path, "changed", before, after)


def _child_pairs(before: Any, after: Any, path: str) -> Iterator[_ValuePair] | None:
    """Objects by key, lists of objects by place; all else is one value, and so is what has too long a key."""
    if isinstance(before, dict) and isinstance(after, dict):
        if _is_reordered(before, after, path) or any(len(key) > MAX_KEY_CHARACTERS for key in (*before, *after)):
            return None
        keys = _merged_keys(before, after)
        return ((before.get(key, UNSET), after.get(key, UNSET), _join_path(path, key)) for key in keys)
    if isinstance(before, list) and isinstance(after, list) and all(isinstance(e, dict) for e in (*before, *after)):
        pairs = enumerate(zip_longest(before, after, fillvalue=UNSET))
        return ((one, other, f"{path}[{place}]") for place, (one, other) in pairs)
    return None


def _merged_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
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


def _is_reordered(before: Any, after: Any, path: str) -> bool:
    """Whether the order matters, and is none that removing keys and adding others at the end would give."""
    if not (isinstance(before, dict) and isinstance(after, dict) and ORDERED_OBJECT_PATHS.match(path)):
        return False
    return [*(key for key in before if key in after), *(key for key in after if key not in before)] != list(after)


def _is_written_alike(one: Any, other: Any) -> bool:
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


def _join_path(path: str, key: str) -> str:
    if not key or not key.isprintable() or any(mark in key for mark in '.[]"'):
        return f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
    return f"{path}.{key}" if path else key


# Renamed nodes


def _find_renamed_nodes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The new names of nodes by their old ones, where what they do leaves no choice which is which.

    No name is in both documents, so no two nodes can change places here, nor one take a name that another gives up:
    whichever nodes are paired, the renamings can be carried out at once, and what they do not explain is a change.
    """
    gone = _group_by_content({name: node for name, node in old.items() if name not in new})
    come = _group_by_content({name: node for name, node in new.items() if name not in old})
    pairs = ((names, come.get(content, [])) for content, names in gone.items())
    found = {names[0]: others[0] for names, others in pairs if len(names) == len(others) == 1}
    return found if len(found) <= MAX_RENAMES else {}


def _group_by_content(nodes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names by what the nodes are, exits between them left open: these may have been renamed together."""
    found: dict[str, list[str]] = {}
    left_open = dict.fromkeys(nodes, "")
    for name, node in nodes.items():
        try:
            content = json.dumps(_rename_exits(node, left_open), sort_keys=True)
        except RecursionError:  # no node is so deep that does anything
            continue
        found.setdefault(content, []).append(name)
    return found


def _apply_renames(document: dict[str, Any], new_names: Mapping[str, str]) -> dict[str, Any]:
    """The document with its nodes renamed, also wherever a way leads to them."""
    if not new_names:
        return document
    made = dict(document)
    made["nodes"] = {
        new_names.get(name, name): _rename_exits(node, new_names) for name, node in _nodes_of(document).items()
    }
    if "start" in made:
        made["start"] = _new_name(made["start"], new_names)
    if isinstance(wishes := made.get("anywhere"), dict):
        made["anywhere"] = {name: _rename_global_command(wish, new_names) for name, wish in wishes.items()}
    return made


def _nodes_of(document: Mapping[str, Any]) -> dict[str, Any]:
    nodes = document.get("nodes")
    return nodes if isinstance(nodes, dict) else {}


def _rename_exits(node: Any, new_names: Mapping[str, str]) -> Any:
    exits = node.get("exits") if isinstance(node, dict) else None
    if not isinstance(exits, dict):
        return node
    return {**node, "exits": {name: _new_name(target, new_names) for name, target in exits.items()}}


def _rename_global_command(command: Any, new_names: Mapping[str, str]) -> Any:
    return (
        {**command, "go": _new_name(command["go"], new_names)}
        if isinstance(command, dict) and "go" in command
        else command
    )


def _new_name(target: Any, new_names: Mapping[str, str]) -> Any:
    return new_names.get(target, target) if isinstance(target, str) else target


# Telling


def _format_change(change: Change) -> str:
    where = change.path or "document"
    match change.kind:
        case "added":
            return f"{where}: added {_excerpt(_to_json_line(change.after))}"
        case "removed":
            return f"{where}: removed {_excerpt(_to_json_line(change.before))}"
        case "renamed":
            return f"{where}: renamed to {_excerpt(_join_path('', change.after))}"
        case "changed":
            before, after = _to_json_line(change.before), _to_json_line(change.after)
            differs = _first_difference_index(before, after)
            return f"{where}: {_excerpt(before, differs)} -> {_excerpt(after, differs)}"
        case _:
            assert_never(change.kind)


def _to_json_line(value: Any) -> str:
    """As JSON on one line, as much of it as is looked at; what a terminal might obey is written as an escape."""
    pieces = _JSON_ENCODER.iterencode(value)
    text = "".join(islice(pieces, MAX_JSON_CHUNKS))
    if len(text) > MAX_SEARCHED_CHARACTERS or next(pieces, None) is not None:
        text = f"{text[:MAX_SEARCHED_CHARACTERS]}…"
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)


def _first_difference_index(one: str, other: str) -> int:
    """Where it is; 0 if it lies further on than was written."""
    both = enumerate(zip_longest(one, other))
    return next((place for place, (a, b) in both if a != b), 0)


def _excerpt(text: str, difference_index: int = 0) -> str:
    """``MAX_SHOWN`` characters, among them where it differs: long texts are often the same at their beginning."""
    begin = (
        difference_index - SHARED_PREFIX_CHARACTERS
        if difference_index > MAX_VALUE_CHARACTERS - SHARED_PREFIX_CHARACTERS and len(text) > MAX_VALUE_CHARACTERS
        else 0
    )
    end = begin + MAX_VALUE_CHARACTERS
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
