"""Semantic diff of two flow documents: what a promotion or a rollback would change.

Applying the changes to the first document gives the second one, except for ``layout``, ``$schema`` and the order of
keys where it has no meaning. Renamed nodes come first; they are renamed simultaneously, and every exit, start and
global command that leads to a renamed node follows. All other changes use the new names, in paths and in ``before``.

Values are compared as written: 1, 1.0 and true differ, and an explicit default is an addition. Any two JSON objects can
be compared, in linear time. A diff that would exceed the limit becomes coarser, down to one change of the whole
document; it is never incomplete.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, Literal, assert_never

import msgspec
from msgspec import UNSET

MAX_CHANGES = 1_000
MAX_RENAMES = 500  # more are reported as other changes, which leaves room for those
MAX_DEPTH = 20  # compared levels: flows have about seven, and the JSON of a request a few more
COARSER_DEPTHS = (6, 4, 3, 2, 1, 0)  # levels of coarser diffs: 2 reports whole nodes, 0 the whole document
MAX_KEY_CHARACTERS = 100  # characters of a key in a path: together with the depth it bounds the size of a path
IGNORED_FIELDS = ("layout", "$schema")
ORDERED_OBJECT_PATHS = re.compile(r"nodes\.\w+\.(values|weights)\Z")  # set and split process these in order

MAX_SUMMARY_LINES = 20
MAX_VALUE_CHARACTERS = 60  # characters of a value in a summary
SHARED_PREFIX_CHARACTERS = 20  # of these, shown before the first difference
MAX_SEARCHED_CHARACTERS = 10_000  # characters searched for the first difference
MAX_JSON_CHUNKS = 200  # chunks of the JSON encoder: more than is shown; bounds the depth, too

_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False)

_ValuePair = tuple[Any, Any, str]  # old value, new value, path


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change from the first document to the second.

    ``path`` has the form of a Diagnostic's path (``nodes.route.rules[0].when``); a key that would be ambiguous is
    quoted in brackets (``headers["a.b"]``), and the path of the whole document is empty. An addition has no ``before``,
    a removal no ``after``. A renamed node has its old path, and its old and new name as ``before`` and ``after``.
    """

    path: str
    kind: Literal["added", "removed", "changed", "renamed"]
    before: Any = UNSET
    after: Any = UNSET


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return at most ``MAX_CHANGES`` changes: renamed nodes first, the others in the order of the second document."""
    old, new = ({key: value for key, value in doc.items() if key not in IGNORED_FIELDS} for doc in (before, after))
    renamed = _find_renamed_nodes(_nodes_of(old), _nodes_of(new))
    renames = [Change(_join_path("nodes", name), "renamed", name, new_name) for name, new_name in renamed.items()]
    pair, limit = (_apply_renames(old, renamed), new, ""), MAX_CHANGES - len(renames)
    attempts = (list(islice(_iter_changes(pair, depth), limit + 1)) for depth in (MAX_DEPTH, *COARSER_DEPTHS))
    return renames + next(changes for changes in attempts if len(changes) <= limit)


def format_summary(changes: Sequence[Change], max_lines: int = MAX_SUMMARY_LINES) -> str:
    """Format the first ``max_lines`` changes, one per line, and the number of the others."""
    lines = [_format_change(change) for change in changes[:max_lines]]
    if len(changes) > max_lines:
        lines.append(f"and {len(changes) - max_lines:,} more")
    return "\n".join(lines) or "no changes"


# Comparison


def _iter_changes(pair: _ValuePair, max_depth: int, depth: int = 0) -> Iterator[Change]:
    """Yield changes at ``max_depth`` or above; deeper differences, down to ``MAX_DEPTH``, count for the value above."""
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
    """Pair the items of two objects by key, of two lists of objects by index.

    None: the values are compared as a whole.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        if _is_reordered(before, after, path) or any(len(key) > MAX_KEY_CHARACTERS for key in (*before, *after)):
            return None
        keys = _merged_keys(before, after)
        return ((before.get(key, UNSET), after.get(key, UNSET), _join_path(path, key)) for key in keys)
    if isinstance(before, list) and isinstance(after, list) and all(isinstance(e, dict) for e in (*before, *after)):
        pairs = enumerate(zip_longest(before, after, fillvalue=UNSET))
        return ((old, new, f"{path}[{index}]") for index, (old, new) in pairs)
    return None


def _merged_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield all keys in the order of ``after``; a removed key follows its predecessor in ``before``."""
    removed: dict[str | None, list[str]] = {}
    last: str | None = None
    for key in before:
        if key in after:
            last = key
        else:
            removed.setdefault(last, []).append(key)
    yield from removed.get(None, [])
    for key in after:
        yield key
        yield from removed.get(key, [])


def _is_reordered(before: Any, after: Any, path: str) -> bool:
    """Return True if the order matters and removing keys and appending new ones would not give it."""
    if not (isinstance(before, dict) and isinstance(after, dict) and ORDERED_OBJECT_PATHS.match(path)):
        return False
    return [*(key for key in before if key in after), *(key for key in after if key not in before)] != list(after)


def _is_written_alike(left: Any, right: Any) -> bool:
    """Return True if both have the same JSON; without recursion, since they may be very deep."""
    pairs = [(left, right)]
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
        elif repr(a) != repr(b) if isinstance(a, float) else a != b:  # NaN equals NaN, 0.0 does not equal -0.0
            return False
    return True


def _join_path(path: str, key: str) -> str:
    if not key or not key.isprintable() or any(mark in key for mark in '.[]"'):
        return f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
    return f"{path}.{key}" if path else key


# Renamed nodes


def _find_renamed_nodes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Map old names to new ones for nodes whose content identifies them uniquely.

    Only names that exist in one of the documents are considered, so nodes cannot swap names, nor can a node take a name
    that another gives up: the renames can always be applied simultaneously. Everything else is another kind of change.
    """
    removed = _group_by_content({name: node for name, node in old.items() if name not in new})
    added = _group_by_content({name: node for name, node in new.items() if name not in old})
    pairs = ((names, added.get(content, [])) for content, names in removed.items())
    renamed = {names[0]: new_names[0] for names, new_names in pairs if len(names) == len(new_names) == 1}
    return renamed if len(renamed) <= MAX_RENAMES else {}


def _group_by_content(nodes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Group node names by content. Exits between the nodes are blanked, since they may have been renamed together."""
    groups: dict[str, list[str]] = {}
    blank_names = dict.fromkeys(nodes, "")
    for name, node in nodes.items():
        try:
            content = json.dumps(_rename_exits(node, blank_names), sort_keys=True)
        except RecursionError:  # no valid node is so deep
            continue
        groups.setdefault(content, []).append(name)
    return groups


def _apply_renames(document: dict[str, Any], new_names: Mapping[str, str]) -> dict[str, Any]:
    """Rename nodes, also in exits, ``start`` and global commands."""
    if not new_names:
        return document
    renamed = dict(document)
    renamed["nodes"] = {
        new_names.get(name, name): _rename_exits(node, new_names) for name, node in _nodes_of(document).items()
    }
    if "start" in renamed:
        renamed["start"] = _new_name(renamed["start"], new_names)
    if isinstance(commands := renamed.get("anywhere"), dict):
        renamed["anywhere"] = {name: _rename_global_command(command, new_names) for name, command in commands.items()}
    return renamed


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


# Summary


def _format_change(change: Change) -> str:
    path = change.path or "document"
    match change.kind:
        case "added":
            return f"{path}: added {_excerpt(_to_json_line(change.after))}"
        case "removed":
            return f"{path}: removed {_excerpt(_to_json_line(change.before))}"
        case "renamed":
            return f"{path}: renamed to {_excerpt(_join_path('', change.after))}"
        case "changed":
            before, after = _to_json_line(change.before), _to_json_line(change.after)
            index = _first_difference_index(before, after)
            return f"{path}: {_excerpt(before, index)} -> {_excerpt(after, index)}"
        case _:
            assert_never(change.kind)


def _to_json_line(value: Any) -> str:
    """Encode a value as one line of JSON, truncated. Control characters, which a terminal might obey, are escaped."""
    chunks = _JSON_ENCODER.iterencode(value)
    text = "".join(islice(chunks, MAX_JSON_CHUNKS))
    if len(text) > MAX_SEARCHED_CHARACTERS or next(chunks, None) is not None:
        text = f"{text[:MAX_SEARCHED_CHARACTERS]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _first_difference_index(left: str, right: str) -> int:
    """Return the index of the first difference, 0 if there is none in the truncated texts."""
    pairs = enumerate(zip_longest(left, right))
    return next((index for index, (a, b) in pairs if a != b), 0)


def _excerpt(text: str, difference_index: int = 0) -> str:
    """Cut out ``MAX_VALUE_CHARACTERS`` around the difference, since long texts often share their beginning."""
    start = (
        difference_index - SHARED_PREFIX_CHARACTERS
        if difference_index > MAX_VALUE_CHARACTERS - SHARED_PREFIX_CHARACTERS and len(text) > MAX_VALUE_CHARACTERS
        else 0
    )
    end = start + MAX_VALUE_CHARACTERS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
