"""Diagrams: DOT, SVG and tree. Well-formedness is tested; readability was checked by eye."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocelio.engine.diagram.layout import Layout, compute_layout
from vocelio.engine.diagram.model import GLOBAL_COMMANDS, Arrow, Box, Diagram, build_diagram, truncate_at_word
from vocelio.engine.diagram.svg import render_svg
from vocelio.engine.diagram.text import render_dot, render_tree
from vocelio.engine.validation import loader
from vocelio.engine.validation.loader import validate_all

EXAMPLES = Path(__file__).parents[4] / "examples"
VALIDATED = validate_all({path.stem: path.read_bytes() for path in sorted(EXAMPLES.glob("*.json"))})


def build(nodes: dict[str, Any], **fields: Any) -> Diagram:
    text = json.dumps({"name": 'F <&> "q"', "start": next(iter(nodes)), "nodes": nodes, **fields})
    return build_diagram(loader.load_flow(text.encode()).flow)


def ask_node(**exits: str) -> dict[str, Any]:
    wired = {"no_input": "bye", "no_match": "bye", **exits}
    return {"type": "collect", "expect": "yes_no", "prompt": 'Say "yes" \\ <or> no & wait?', "exits": wired}


FLOW = {
    "greet": {"type": "say", "text": "Hello {{ tenant.name }}", "exits": {"next": "ask"}},
    "ask": ask_node(yes="desk", no="greet"),
    "desk": {"type": "transfer", "department": "sales", "exits": {"busy": "ask", "failed": "ask"}},
    "bye": {"type": "hangup", "text": "Bye."},
}


def test_boxes_and_arrows() -> None:
    result = build(FLOW, anywhere={"operator": {"key": "0", "go": "desk"}, "again": {"key": "9", "go": "@repeat"}})
    assert result.boxes == (
        Box("greet", "say", "Hello {{ tenant.name }}", is_start=True),
        Box("ask", "collect", 'Say "yes" \\ <or> no & wait?'),
        Box("desk", "transfer", "sales", ending_exits=("answered", "no_answer")),
        Box("bye", "hangup", "Bye.", is_terminal=True),
        Box(GLOBAL_COMMANDS, "global commands", ""),
    )
    assert result.arrows == (
        Arrow("greet", "ask", ("next",)),
        Arrow("ask", "desk", ("yes",)),
        Arrow("ask", "greet", ("no",)),
        Arrow("ask", "bye", ("no_input", "no_match")),
        Arrow("desk", "ask", ("busy", "failed")),
        Arrow(GLOBAL_COMMANDS, "desk", ("operator",)),
    )


def test_exit_without_a_target_falls_back_to_another() -> None:
    """A holiday without an exit of its own is drawn as closed."""
    hours = {"type": "hours", "department": "d", "exits": {"open": "bye", "closed": "no"}}
    result = build({"hours": hours, "bye": {"type": "hangup"}, "no": {"type": "hangup", "text": "No."}})
    assert result.arrows == (Arrow("hours", "bye", ("open",)), Arrow("hours", "no", ("closed", "holiday")))


def test_truncate_at_word() -> None:
    assert truncate_at_word("a  b\nc") == "a b c"
    assert truncate_at_word("one two three", 9) == "one two…"
    assert truncate_at_word("x" * 50, 9) == "x" * 8 + "…"


def test_dot() -> None:
    lines = render_dot(build(FLOW)).splitlines()
    assert lines[0] == 'digraph "F <&> \\"q\\"" {'
    assert '  "greet" [label="greet · say\\nHello {{ tenant.name }}", fillcolor=palegreen];' in lines
    assert '  "ask" [label="ask · collect\\nSay \\"yes\\" \\\\ <or> no & wait?"];' in lines
    assert '  "ask" -> "bye" [label="no_input, no_match"];' in lines
    assert lines[-1] == "}"


def test_tree() -> None:
    result = build(FLOW, anywhere={"operator": {"key": "0", "go": "desk"}})
    assert render_tree(result).splitlines()[1:] == [
        "greet  [say]  Hello {{ tenant.name }}",
        '↓ ask  [collect]  Say "yes" \\ <or> no & wait?',
        "├─ yes: desk  [transfer]  sales",
        "│  ├─ busy, failed -> ask (above)",
        "│  └─ answered, no_answer: the call ends",
        "├─ no -> greet (above)",
        "└─ no_input, no_match: bye  [hangup]  Bye.",
        "",
        "global commands:",
        "(anywhere)  [global commands]",
        "└─ operator -> desk (above)",
    ]


def test_deep_branches_continue_below() -> None:
    nodes = {f"a{i}": ask_node(yes=f"a{i + 1}", no="bye") for i in range(300)}
    text = render_tree(build(nodes | {"a300": {"type": "hangup"}, "bye": {"type": "hangup"}}))
    assert max(map(len, text.splitlines())) < 140
    assert "yes -> a13 (below)" in text
    assert "continued:" in text
    assert all(f"a{i}  [" in text for i in range(301))


def test_unreachable_boxes_are_rendered() -> None:
    boxes = (Box("a", "say", "", is_start=True), Box("b", "say", ""))
    assert render_tree(Diagram("f", "a", boxes, ())).splitlines() == ["f", "a  [say]", "", "unreachable:", "b  [say]"]


@pytest.mark.parametrize("name", VALIDATED)
def test_every_example_can_be_drawn(name: str) -> None:
    version, problems = VALIDATED[name]
    assert version, problems
    result = build_diagram(version.flow)
    root = ElementTree.fromstring(render_svg(result))
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    reported, edges = render_tree(result), render_dot(result)
    for box in result.boxes:
        assert any(text.startswith(box.name) for text in texts)
        assert f"{box.name}  [" in reported
    for arrow in result.arrows:
        assert not arrow.label or truncate_at_word(arrow.label, 40) in texts
        assert f'"{arrow.source}" -> "{arrow.target}"' in edges
    places = [(float(x), float(y)) for x, y in re.findall(r'<rect x="([-\d.]+)" y="([-\d.]+)"', render_svg(result))]
    assert all(x >= 0 and y >= 0 for x, y in places)


def find_overlaps(result: Layout, widths: list[float]) -> bool:
    rows: dict[int, list[tuple[float, float]]] = {}
    for (x, layer), width in zip(result.boxes, widths, strict=True):
        rows.setdefault(layer, []).append((x - width / 2, x + width / 2))
    return any(
        left[1] > right[0] + 1e-6
        for row in rows.values()
        for left, right in zip(sorted(row), sorted(row)[1:], strict=False)
    )


GRAPHS = st.integers(1, 25).flatmap(
    lambda count: st.tuples(
        st.lists(st.floats(20, 200), min_size=count, max_size=count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=50),
    )
)


@given(GRAPHS)
@settings(max_examples=60)
def test_layout_of_any_graph(graph: tuple[list[float], list[tuple[int, int]]]) -> None:
    """Boxes do not overlap, arrows have a bend in each layer that they cross, and acyclic arrows lead down."""
    widths, arrows = graph
    result = compute_layout(widths, arrows, [30.0] * len(arrows))
    assert not find_overlaps(result, widths)
    for (source, target), bends in zip(arrows, result.bends, strict=True):
        assert len(bends) == max(0, abs(result.boxes[source][1] - result.boxes[target][1]) - 1)
    downward = [(a, b) for a, b in arrows if a < b]
    placed = compute_layout(widths, downward, [30.0] * len(downward))
    assert all(placed.boxes[a][1] < placed.boxes[b][1] for a, b in downward)


def test_large_flow_can_be_drawn() -> None:
    nodes = {f"a{i}": ask_node(yes=f"a{i + 1}", no=f"a{i // 2}") for i in range(1_000)}
    result = build(nodes | {"a1000": {"type": "hangup"}, "bye": {"type": "hangup"}})
    assert render_svg(result).count("<rect") == 1_003
