"""Diff of two documents: the reported changes, and that applying them to the first gives the second."""

import json
import re
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from vocelio.engine.diff import (
    IGNORED_FIELDS,
    MAX_CHANGES,
    MAX_KEY_CHARACTERS,
    MAX_RENAMES,
    MAX_SUMMARY_LINES,
    Change,
    diff,
    format_summary,
)

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.json"))
BYE: dict[str, Any] = {"type": "hangup"}


def say_node(text: str, target: str = "bye") -> dict[str, Any]:
    return {"type": "say", "text": text, "exits": {"next": target}}


def make_flow(nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "test", "start": next(iter(nodes), ""), **fields, "nodes": nodes}


def nested_value(levels: int, innermost: Any) -> Any:
    for _ in range(levels):
        innermost = {"k": innermost}
    return innermost


# Application of changes, written from the docstring of the module alone

STEP = re.compile(r'\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.\[\]]+)')


def path_steps(path: str) -> list[Any]:
    steps = list(STEP.finditer(path))
    assert "".join(step[0] for step in steps) == path
    return [int(step[1]) if step[1] else json.loads(step[2]) if step[2] else step[3] for step in steps]


def rename_nodes(document: Any, names: dict[str, str]) -> None:
    def rename_target(parent: Any, key: str) -> None:
        if isinstance(parent, dict) and isinstance(parent.get(key), str):
            parent[key] = names.get(parent[key], parent[key])

    nodes, commands = document.get("nodes"), document.get("anywhere")
    for node in nodes.values() if isinstance(nodes, dict) else ():
        exits = node.get("exits") if isinstance(node, dict) else None
        for name in exits if isinstance(exits, dict) else ():
            rename_target(exits, name)
    for command in commands.values() if isinstance(commands, dict) else ():
        rename_target(command, "go")
    rename_target(document, "start")
    if names:
        assert not set(names.values()) & set(nodes)
        document["nodes"] = {names.get(name, name): node for name, node in nodes.items()}


def apply_changes(changes: list[Change], document: dict[str, Any]) -> Any:
    root = {"": deepcopy({key: value for key, value in document.items() if key not in IGNORED_FIELDS})}
    renames = [change for change in changes if change.kind == "renamed"]
    assert changes[: len(renames)] == renames
    assert all(path_steps(change.path) == ["nodes", change.before] for change in renames)
    rename_nodes(root[""], {change.before: change.after for change in renames})
    changed, removed = list[tuple[Any, Any, Change]](), list[tuple[Any, Any]]()
    for change in changes[len(renames) :]:
        *steps, last = ["", *path_steps(change.path)]
        parent: Any = root
        for step in steps:
            parent = parent[step]
        if change.kind == "removed":
            assert canonical_json(parent[last]) == canonical_json(change.before)
            removed.append((parent, last))
        else:
            changed.append((parent, last, change))
    for parent, last, change in changed:
        if change.kind == "changed":
            assert canonical_json(parent[last]) == canonical_json(change.before)
            parent[last] = change.after
        elif isinstance(parent, list):
            assert last == len(parent)
            parent.append(change.after)
        else:
            assert last not in parent
            parent[last] = change.after
    for parent, last in reversed(removed):
        del parent[last]
    return root[""]


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def ordered_branches(document: Any) -> dict[str, list[str]]:
    """Return the keys of values and weights of set and split nodes, whose order counts."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    keys = {}
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        for field in ("values", "weights"):
            if isinstance(node, dict) and isinstance(node.get(field), dict):
                keys[f"{name} {field}"] = list(node[field])
    return keys


def assert_diff_applies(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    originals = deepcopy((before, after))
    changes = diff(before, after)
    result = apply_changes(changes, before)
    assert canonical_json(result) == canonical_json(
        {key: value for key, value in after.items() if key not in IGNORED_FIELDS}
    )
    assert ordered_branches(result) == ordered_branches(after)
    assert repr((before, after)) == repr(originals)
    assert len(changes) <= MAX_CHANGES
    return changes


# Reported changes

ASK = {
    "type": "collect",
    "prompt": "Sales or support?",
    "choices": {"sales": {"phrases": ["sales"], "key": "1"}, "support": {"phrases": ["support"]}},
    "timeout": 5,
    "exits": {"sales": "bye", "support": "bye"},
}


def test_changes_are_in_the_order_of_the_new_document() -> None:
    asked_otherwise = {
        "type": "collect",
        "prompt": "Sales, or support?",
        "choices": {"sales": {"phrases": ["sales", "buy"], "key": "2"}, "help": {"phrases": ["help"]}},
        "timeout": 8,
        "exits": {"sales": "desk", "help": "bye"},
        "retries": 2,
    }
    before = make_flow(
        {"ask": ASK, "old": say_node("Old."), "bye": BYE}, variables={"tries": 0}, voice={"name": "en-us"}
    )
    desk = {"type": "transfer", "department": "sales"}
    after = make_flow({"ask": asked_otherwise, "desk": desk, "bye": BYE}, variables={"tries": None, "pin": None})
    assert assert_diff_applies(before, after) == [
        Change("variables.tries", "changed", 0, None),
        Change("variables.pin", "added", after=None),
        Change("voice", "removed", {"name": "en-us"}),
        Change("nodes.ask.prompt", "changed", "Sales or support?", "Sales, or support?"),
        Change("nodes.ask.choices.sales.phrases", "changed", ["sales"], ["sales", "buy"]),
        Change("nodes.ask.choices.sales.key", "changed", "1", "2"),
        Change("nodes.ask.choices.support", "removed", {"phrases": ["support"]}),
        Change("nodes.ask.choices.help", "added", after={"phrases": ["help"]}),
        Change("nodes.ask.timeout", "changed", 5, 8),
        Change("nodes.ask.exits.sales", "changed", "bye", "desk"),
        Change("nodes.ask.exits.support", "removed", "bye"),
        Change("nodes.ask.exits.help", "added", after="bye"),
        Change("nodes.ask.retries", "added", after=2),
        Change("nodes.old", "removed", say_node("Old.")),
        Change("nodes.desk", "added", after=desk),
    ]


def test_lists_of_objects_are_compared_by_index() -> None:
    item, two, three = ({"when": f"x > {n}", "exit": "a"} for n in range(3))
    before = make_flow({"route": {"type": "decide", "rules": [item, two]}})
    after = make_flow({"route": {"type": "decide", "rules": [item, three, two]}})
    assert assert_diff_applies(before, after) == [
        Change("nodes.route.rules[1].when", "changed", "x > 1", "x > 2"),
        Change("nodes.route.rules[2]", "added", after=two),
    ]
    assert [
        change.path for change in assert_diff_applies(make_flow({"route": {"rules": [item, two, three]}}), before)
    ] == [
        "nodes.route.type",
        "nodes.route.rules[2]",
    ]
    assert_diff_applies(after, make_flow({"route": {"type": "decide", "rules": []}}))
    assert_diff_applies(after, make_flow({"route": {"type": "decide", "rules": [item, "x"]}}))


def test_lists_of_scalars_are_one_value() -> None:
    before, after = ({"weekly": {"mon": [["08:00", end]]}} for end in ("12:00", "13:00"))
    (change,) = assert_diff_applies(make_flow({"hours": before}), make_flow({"hours": after}))
    assert change == Change("nodes.hours.weekly.mon", "changed", [["08:00", "12:00"]], [["08:00", "13:00"]])


@pytest.mark.parametrize(
    ("item", "other"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), (None, 0), ("1", 1), ([], {})]
)
def test_values_are_compared_as_written(item: Any, other: Any) -> None:
    for before, after in ((item, other), ([[item]], [[other]])):
        (change,) = diff({"variables": {"x": before}}, {"variables": {"x": after}})
        assert repr(change) == f"Change(path='variables.x', kind='changed', before={before!r}, after={after!r})"


def test_layout_and_schema_are_ignored() -> None:
    before = make_flow({"a": BYE, "b": say_node("B")}, layout={"a": [0, 0]}, **{"$schema": "x"})
    after = make_flow({"b": say_node("B"), "a": {**BYE}}, layout={"a": [0, 9]}, start="a")
    assert diff(before, after) == []
    assert diff(make_flow({"layout": BYE}), make_flow({"layout": say_node("a")})) != []


@pytest.mark.parametrize(("kind", "field"), [("set", "values"), ("split", "weights")])
def test_order_of_values_and_weights_is_a_change(kind: str, field: str) -> None:
    def of(**fields: int) -> dict[str, Any]:
        return make_flow({"n": {"type": kind, field: fields}})

    assert assert_diff_applies(of(a=1, b=2), of(a=3, b=2, c=4)) == [
        Change(f"nodes.n.{field}.a", "changed", 1, 3),
        Change(f"nodes.n.{field}.c", "added", after=4),
    ]
    assert [change.path for change in assert_diff_applies(of(a=1, b=2), of(b=2))] == [f"nodes.n.{field}.a"]
    assert [change.path for change in assert_diff_applies(of(a=1, b=2), of(b=2, a=1))] == [f"nodes.n.{field}"]
    assert [change.path for change in assert_diff_applies(of(a=1, b=2), of(c=1, a=1, b=2))] == [f"nodes.n.{field}"]


def test_ambiguous_keys_are_quoted_in_paths() -> None:
    before = make_flow(
        {"r": {"headers": {"a.b": "1", "X-Y": "1", 'q"]': "1", "": "1", "[0]": "1", "a\n": "1", "é ü": "1"}}}
    )
    after = make_flow({"r": {"headers": dict.fromkeys(before["nodes"]["r"]["headers"], "2")}})
    paths = [change.path.removeprefix("nodes.r.headers") for change in assert_diff_applies(before, after)]
    assert paths == ['["a.b"]', ".X-Y", '["q\\"]"]', '[""]', '["[0]"]', '["a\\n"]', ".é ü"]


def test_json_of_a_change_distinguishes_null_from_absent() -> None:
    changes = [
        Change("a", "added", after=None),
        Change("b", "removed", None),
        Change("c", "changed", None, 0),
        Change("nodes.d", "renamed", "d", "e"),
    ]
    text = msgspec.json.encode(changes)
    assert json.loads(text) == [
        {"path": "a", "kind": "added", "after": None},
        {"path": "b", "kind": "removed", "before": None},
        {"path": "c", "kind": "changed", "before": None, "after": 0},
        {"path": "nodes.d", "kind": "renamed", "before": "d", "after": "e"},
    ]
    decoded = msgspec.json.decode(text, type=list[Change])
    assert decoded == changes
    assert decoded[0].before is UNSET
    assert decoded[0].after is None


# Renamed nodes


def test_renamed_node_updates_references() -> None:
    wishes = {"operator": {"key": "0", "go": "ask"}, "again": {"key": "9", "go": "@repeat"}}
    before = make_flow({"ask": say_node("Which?", "ask"), "hi": say_node("Hi.", "ask"), "bye": BYE}, anywhere=wishes)
    wishes = {**wishes, "operator": {"key": "0", "go": "question"}}
    after = make_flow(
        {"question": say_node("Which?", "question"), "hi": say_node("Hi!", "question"), "bye": BYE}, anywhere=wishes
    )
    assert assert_diff_applies(before, after) == [
        Change("nodes.ask", "renamed", "ask", "question"),
        Change("nodes.hi.text", "changed", "Hi.", "Hi!"),
    ]


def test_nodes_can_be_renamed_together() -> None:
    before = make_flow({"a": say_node("A", "b"), "b": say_node("B", "a"), "bye": BYE})
    after = make_flow({"a2": say_node("A", "b2"), "b2": say_node("B", "a2"), "bye": BYE})
    assert [change.kind for change in assert_diff_applies(before, after)] == ["renamed", "renamed"]


def test_differences_besides_a_rename_are_changes() -> None:
    before = make_flow({"a": say_node("A", "b"), "b": say_node("B"), "c": say_node("C", "a"), "bye": BYE})
    after = make_flow({"a2": say_node("A", "x"), "x": say_node("X"), "c": say_node("C", "x"), "bye": BYE})
    assert assert_diff_applies(before, after) == [
        Change("nodes.a", "renamed", "a", "a2"),
        Change("nodes.a2.exits.next", "changed", "b", "x"),
        Change("nodes.b", "removed", say_node("B")),
        Change("nodes.x", "added", after=say_node("X")),
        Change("nodes.c.exits.next", "changed", "a2", "x"),
    ]


def test_swapped_nodes_are_changes_of_each() -> None:
    before, after = (
        make_flow({"a": say_node("A"), "b": say_node("B"), "bye": BYE}),
        make_flow({"a": say_node("B"), "b": say_node("A"), "bye": BYE}),
    )
    assert [(change.path, change.kind) for change in assert_diff_applies(before, after)] == [
        ("nodes.a.text", "changed"),
        ("nodes.b.text", "changed"),
    ]


def test_reused_name_is_not_a_rename() -> None:
    before = make_flow({"a": say_node("A", "b"), "b": say_node("B"), "bye": BYE})
    after = make_flow({"b": say_node("A", "c"), "c": say_node("B"), "bye": BYE}, start="b")
    assert [(change.path, change.kind) for change in assert_diff_applies(before, after)] == [
        ("start", "changed"),
        ("nodes.a", "removed"),
        ("nodes.b.text", "changed"),
        ("nodes.b.exits.next", "changed"),
        ("nodes.c", "added"),
    ]


def test_identical_nodes_are_not_renamed() -> None:
    before, after = (
        make_flow({"a": BYE, "b": BYE, "c": say_node("C")}),
        make_flow({"x": BYE, "y": BYE, "c": say_node("C")}, start="c"),
    )
    assert [change.kind for change in assert_diff_applies(before, after) if change.path != "start"] == [
        "removed",
        "removed",
        "added",
        "added",
    ]


# Bounds


def test_too_many_changes_become_coarser() -> None:
    def of(text: str, nodes: int, fields: int) -> dict[str, Any]:
        return make_flow({f"n{n}": {f"f{f}": text for f in range(fields)} for n in range(nodes)})

    assert len(assert_diff_applies(of("a", 10, 100), of("b", 10, 100))) == MAX_CHANGES
    assert [change.path for change in assert_diff_applies(of("a", 10, 101), of("b", 10, 101))] == [
        f"nodes.n{n}" for n in range(10)
    ]
    assert [change.path for change in assert_diff_applies(of("a", 1_001, 1), of("b", 1_001, 1))] == ["nodes"]
    item, other = ({f"k{n}": text for n in range(MAX_CHANGES + 1)} for text in "ab")
    assert assert_diff_applies(item, other) == [Change("", "changed", item, other)]


def test_coarse_diff_keeps_order_changes() -> None:
    before = make_flow({"set": {"values": {"a": 1, "b": 2}}, "x": dict.fromkeys(map(str, range(2_000)), 1)})
    after = make_flow({"set": {"values": {"b": 2, "a": 1}}, "x": dict.fromkeys(map(str, range(2_000)), 2)})
    assert [change.path for change in assert_diff_applies(before, after)] == ["nodes.set", "nodes.x"]


def test_too_many_renames_become_changes() -> None:
    before, after = (
        make_flow({f"{name}{n}": say_node(f"{n}") for n in range(MAX_RENAMES + 1)}, start="") for name in "ab"
    )
    assert [change.path for change in assert_diff_applies(before, after)] == ["nodes"]
    del before["nodes"]["a0"], after["nodes"]["b0"]
    before["x"], after["x"] = (dict.fromkeys(map(str, range(MAX_CHANGES)), value) for value in (1, 2))
    changes = assert_diff_applies(before, after)
    assert [change.kind for change in changes[:-1]] == ["renamed"] * MAX_RENAMES
    assert changes[-1].path == "x"


def test_values_below_max_depth_are_compared_as_a_whole() -> None:
    before, after = ({"variables": {"x": nested_value(300, value)}, "nodes": {}} for value in (1, 2))
    (change,) = assert_diff_applies(before, after)
    assert change.path == "variables.x" + ".k" * 18
    assert format_summary([change]).count("k") < 100
    assert diff(before, deepcopy(before)) == []


def test_extremely_deep_documents_are_compared() -> None:
    deepest = b'{"nodes": {"%s": {"x": %s1%s}}}'
    documents = [json.loads(deepest % (name, b"[" * 900, b"]" * 900)) for name in (b"a", b"b", b"a")]
    assert [change.kind for change in diff(documents[0], documents[1])][-1] in ("renamed", "added")
    assert diff(documents[0], documents[2]) == []
    documents[2]["nodes"]["a"]["x"].append(1)
    assert format_summary(diff(documents[0], documents[2])).startswith("nodes.a.x: [[[")


def test_object_with_too_long_keys_is_one_value() -> None:
    before, after = ({"headers": {"k" * (MAX_KEY_CHARACTERS + 1): value, "x": value}} for value in "ab")
    assert [change.path for change in assert_diff_applies(before, after)] == ["headers"]
    before, after = ({"k" * (MAX_KEY_CHARACTERS + 1): value, "layout": value} for value in "ab")
    assert [change.path for change in assert_diff_applies(before, after)] == [""]


LARGE = {  # about half a megabyte each
    "all texts": [make_flow({f"n{n}": say_node(f"{n:015}{x}", f"n{n + 1}") for n in range(6_000)}) for x in "ab"],
    "all names": [make_flow({f"{x}{n}": {} for n in range(40_000)}) for x in "ab"],
    "only the last": [make_flow({"r": {"rules": [{"when": "y"}] * 30_000 + [{"when": x}]}}) for x in "ab"],
    "no nodes": [{f"k{n}": {"x": x} for n in range(25_000)} for x in "ab"],
    "long keys": [nested_value(19, {f"{n:0100}": x for n in range(4_000)}) for x in "ab"],
}


@pytest.mark.parametrize("pair", LARGE.values(), ids=LARGE)
def test_large_documents_are_compared_in_bounded_time(pair: list[dict[str, Any]]) -> None:
    began = time.process_time()
    changes = diff(*pair)
    assert format_summary(changes)
    assert time.process_time() - began < 3  # 0.3 s at most where it was measured
    assert apply_changes(changes, pair[0]) == pair[1]


# Summaries


def test_format_summary() -> None:
    before = make_flow({"ask": {"timeout": 5, "prompt": "Hi"}, "old": BYE, "a": say_node("A")}, start="ask")
    after = make_flow(
        {"ask": {"timeout": 8, "prompt": None}, "new": say_node("é\x1b[0m\u202e"), "b": say_node("A")}, start="ask"
    )
    assert format_summary(diff(before, after)).splitlines() == [
        "nodes.a: renamed to b",
        "nodes.ask.timeout: 5 -> 8",
        'nodes.ask.prompt: "Hi" -> null',
        'nodes.old: removed {"type": "hangup"}',
        'nodes.new: added {"type": "say", "text": "é\\u001b[0m\\u202e", "exits": {"next"…',
    ]
    assert format_summary([]) == "no changes"
    assert format_summary([Change("", "changed", {}, {"a": 1})]) == 'document: {} -> {"a": 1}'


def test_summary_shows_long_values_around_the_difference() -> None:
    before, after = (f"{'Thank you for calling. ' * 5}We open at {hour}. {'Goodbye. ' * 9}" for hour in (8, 9))
    assert format_summary([Change("x", "changed", before, after)]) == (
        "x: …calling. We open at 8. Goodbye. Goodbye. Goodbye. Goodbye. G… -> "
        "…calling. We open at 9. Goodbye. Goodbye. Goodbye. Goodbye. G…"
    )
    assert format_summary([Change("x", "changed", "a" * 90, "b")]) == f'x: "{"a" * 59}… -> "b"'
    assert len(format_summary([Change("x", "changed", ["a"] * 100_000, ["b" * 100_000])])) < 200


def test_summary_is_truncated() -> None:
    changes = [Change(f"x{n}", "added", after=n) for n in range(1_000)]
    assert format_summary(changes).splitlines()[-2:] == [
        f"x{MAX_SUMMARY_LINES - 1}: added {MAX_SUMMARY_LINES - 1}",
        "and 980 more",
    ]
    assert format_summary(changes[:3], 2).splitlines()[1:] == ["x1: added 1", "and 1 more"]
    assert len(format_summary(changes[:MAX_SUMMARY_LINES]).splitlines()) == MAX_SUMMARY_LINES


# Properties for any documents

KEYS = st.sampled_from(["a", "b", "c", "d", "e", "a.b", "[0]", "", '"', "go", "exits"]) | st.text(max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.floats() | st.sampled_from("abcde") | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(st.dictionaries(KEYS, inner, max_size=2), max_size=3)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from("abcdef")
NODES = st.fixed_dictionaries(
    {"type": st.sampled_from(["say", "set"])},
    optional={
        "exits": st.dictionaries(st.sampled_from(["next", "else"]), NAMES, max_size=2),
        "values": st.dictionaries(NAMES, st.integers(0, 1), max_size=3),
        "rules": st.lists(st.fixed_dictionaries({"when": NAMES, "exit": NAMES}), max_size=3),
    },
)
FLOWS = st.fixed_dictionaries(
    {"start": NAMES, "nodes": st.dictionaries(NAMES, NODES, max_size=5)},
    optional={"anywhere": st.dictionaries(NAMES, st.fixed_dictionaries({"go": NAMES}), max_size=2)},
)
ANY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("name", "start", "nodes", "anywhere", "variables", "layout", "$schema"), JSON)
) | st.dictionaries(KEYS, JSON, max_size=4)


@given(FLOWS, FLOWS)
def test_applied_changes_give_the_second_flow(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert_diff_applies(before, after)


@given(ANY | FLOWS, ANY | FLOWS)
def test_applied_changes_give_any_second_document(before: dict[str, Any], after: dict[str, Any]) -> None:
    format_summary(assert_diff_applies(before, after))


@given(FLOWS, st.permutations("abcdefghi"))
def test_any_permutation_of_names_is_applied(before: dict[str, Any], names: list[str]) -> None:
    """Includes swaps and cycles of names."""
    after = deepcopy(before)
    new_names = dict(zip("abcdef", names, strict=False))
    nodes = after["nodes"] = {new_names[name]: node for name, node in after["nodes"].items()}
    for node in nodes.values():
        node["exits"] = {name: new_names[target] for name, target in node.get("exits", {}).items()}
    assert_diff_applies(before, after)


@given(ANY | FLOWS)
def test_document_has_no_diff_to_itself(document: dict[str, Any]) -> None:
    assert diff(document, json.loads(json.dumps(document))) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_diff_between_all_examples(path: Path) -> None:
    before = json.loads(path.read_bytes())
    assert diff(before, json.loads(path.read_bytes())) == []
    for other in EXAMPLES:
        assert_diff_applies(before, json.loads(other.read_bytes()))
