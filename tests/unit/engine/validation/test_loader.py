"""Loader: broken documents and their diagnostics; hostile documents are rejected in bounded time and memory."""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.session_driver import flow_document
from vocelio.engine.diagnostics import MAX_DIAGNOSTICS
from vocelio.engine.errors import DocumentError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.validation.loader import ValidationContext, load_flow, validate_all, validate_flow

FLOWS = Path(__file__).parents[3] / "data" / "flows"
BROKEN = sorted(path.stem for path in FLOWS.glob("*.json"))

VERIFY = load_flow(
    flow_document(
        {
            "ask": {
                "type": "collect",
                "prompt": "?",
                "expect": "digits",
                "save_as": "name",
                "exits": {"done": "verified"},
            },
            "verified": {"type": "end", "name": "verified"},
        },
        variables={"account": ""},
    )
)
CALLS_BACK = FlowVersion("x", VERIFY.flow, {"subflow-cycle@2": VERIFY})
KNOWN = ValidationContext(
    departments=("sales", "support", "front_desk"),
    flows={"verify": VERIFY, "verify@3": VERIFY, "calls-back": CALLS_BACK},
    voices={"local": ("en-us", "en-gb"), "azure": ("en-US-AvaNeural",)},
)
BYE: dict[str, Any] = {"type": "hangup"}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_flow_gives_all_expected_diagnostics(name: str) -> None:
    document = (FLOWS / f"{name}.json").read_bytes()
    version, diagnostics = validate_flow(document, msgspec.structs.replace(KNOWN, flow_name=name))
    assert "".join(f"{diagnostic}\n" for diagnostic in diagnostics) == (FLOWS / f"{name}.diagnostics").read_text()
    assert (version is None) == any(diagnostic.severity == "error" for diagnostic in diagnostics)


def test_number_of_broken_flows() -> None:
    assert len(BROKEN) >= 30


def test_load_flow_raises_with_all_errors() -> None:
    with pytest.raises(DocumentError) as caught:
        load_flow(flow_document({"a": {"type": "say", "text": "{{ x }}", "exits": {"next": "b"}}}))
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["no-such-node", "unknown-variable"]
    assert "nodes.a.exits.next: error [no-such-node]" in str(caught.value)


def test_flow_with_warnings_is_accepted() -> None:
    version, diagnostics = validate_flow(flow_document({"a": BYE, "b": BYE}))
    assert version
    assert [diagnostic.severity for diagnostic in diagnostics] == ["warning"]


def test_version_id_depends_on_document_and_subflows() -> None:
    document = flow_document({"a": {"type": "subflow", "flow": "verify", "exits": {"next": "b"}}, "b": BYE})
    item, same, other = load_flow(document, KNOWN), load_flow(document, KNOWN), load_flow(document)
    assert item.id == same.id != other.id
    assert item.subflows == {"verify": VERIFY}


def test_schema_reference_is_accepted() -> None:
    assert load_flow(flow_document({"a": BYE}, **{"$schema": "flow.schema.json"}))


def test_number_of_diagnostics_is_bounded() -> None:
    version, diagnostics = validate_flow(flow_document({f"n{n}": {"type": "lost"} for n in range(500)}))
    assert version is None
    assert len(diagnostics) == MAX_DIAGNOSTICS
    assert diagnostics[-1].code == "too-many-problems"


# Flows that call each other


def subflow_node(*names: str) -> bytes:
    nodes: dict[str, Any] = {f"n{n}": {"type": "subflow", "flow": name} for n, name in enumerate(names)}
    return flow_document({"w": {"type": "wait", "seconds": 1, "exits": {"next": "n0" if names else "w"}}, **nodes})


def test_flows_are_validated_after_their_subflows() -> None:
    results = validate_all({"a": subflow_node("b", "c"), "b": subflow_node("c"), "c": subflow_node()})
    versions = {name: version for name, (version, _) in results.items()}
    assert all(versions.values())
    assert versions["a"] is not None
    assert versions["a"].subflows == {"b": versions["b"], "c": versions["c"]}


def test_cycle_is_an_error_in_each_of_its_flows_and_their_callers() -> None:
    results = validate_all(
        {
            "a": subflow_node("b"),
            "b": subflow_node("c"),
            "c": subflow_node("a"),
            "d": subflow_node("a"),
            "e": subflow_node("e"),
        }
    )
    codes = {name: [p.code for p in diagnostics if p.severity == "error"] for name, (_, diagnostics) in results.items()}
    assert codes == {
        "a": ["subflow-cycle"],
        "b": ["subflow-cycle"],
        "c": ["subflow-cycle"],
        "d": ["invalid-subflow"],
        "e": ["subflow-cycle"],
    }


def test_subflow_depth_is_bounded() -> None:
    documents = {f"f{n}": subflow_node(f"f{n + 1}") for n in range(12)} | {"f12": subflow_node()}
    codes = {name: {p.code for p in diagnostics} for name, (_, diagnostics) in validate_all(documents).items()}
    assert codes["f5"] == {"unreachable"} or not codes["f5"]
    assert "nested-too-deeply" in codes["f3"]
    assert "invalid-subflow" in codes["f0"]


# Hostile documents

MANY = "abcdefghij" * 3
DEEP = b"[" * 200_000 + b"]" * 200_000
LOOK_UPS = {"a": {}, "c": 1}

HOSTILE: dict[str, bytes] = {
    "10 MB of text": flow_document({"a": {"type": "say", "text": "x" * 10_000_000}}),
    "100,000 nodes": flow_document({f"n{n}": {"type": "end", "name": "x"} for n in range(100_000)}),
    "as many small nodes as fit": flow_document({f"n{n}": {} for n in range(35_000)}),
    "deep nesting": b'{"name":' + DEEP + b"}",
    "deep variables": flow_document({"a": BYE}).replace(
        b'"start"', b'"variables":{"a":' + b"[" * 900 + b"]" * 900 + b'},"start"'
    ),
    "deep values": flow_document({"a": {"type": "set", "values": {"a": json.loads("[" * 600 + "]" * 600)}}}),
    "2,000 exits that dangle": flow_document(
        {
            f"node_{n:04}_{MANY}": {"type": "say", "text": "x", "exits": {"next": f"node_{n:04}_{MANY}x"}}
            for n in range(2000)
        }
    ),
    "30,000 exits": flow_document({"a": {"type": "say", "text": "x", "exits": {f"e{n}": "b" for n in range(30_000)}}}),
    "18,000 unknown fields": flow_document({"a": {"type": "hangup", **{f"f{n}": 1 for n in range(60_000)}}}),
    "20,000 template values": flow_document(
        {f"n{n}": {"type": "say", "text": "{{ a.b | append: c }}" * 230} for n in range(90)}, variables=LOOK_UPS
    ),
    "as many template values as are possible": flow_document(
        {f"n{n}": {"type": "say", "text": "{{ x | append: c }}" * 250} for n in range(31)}, variables=LOOK_UPS
    ),
    "long conditions": flow_document(
        {f"n{n}": {"type": "decide", "rules": [{"when": "a and " * 80 + "q", "exit": "x"}]} for n in range(800)},
        variables=LOOK_UPS,
    ),
    "templates of blanks": flow_document(
        {f"n{n}": {"type": "say", "text": "{{" + " " * 4900 + "}}"} for n in range(95)}
    ),
    "35,000 phrases": flow_document(
        {
            f"n{n}": {
                "type": "collect",
                "prompt": "x",
                "expect": "choice",
                "choices": {f"c{m}": {"phrases": [f"w{n}{m}{k}" for k in range(50)]} for m in range(50)},
            }
            for n in range(14)
        }
    ),
    "loops upon loops": flow_document(
        {
            f"n{n}": {
                "type": "decide",
                "rules": [{"when": "now", "exit": f"e{m}"} for m in range(5)],
                "exits": {f"e{m}": f"n{(n * 7 + m * 31) % 1500}" for m in range(5)},
            }
            for n in range(1500)
        }
    ),
    "2,000 time zones": flow_document(
        {f"n{n}": {"type": "hours", "time_zone": f"X/{n}", "weekly": {"mon": []}} for n in range(2000)}
    ),
    "30,000 dates": flow_document({"a": {"type": "hours", "time_zone": "UTC", "holidays": ["2026-02-30"] * 30_000}}),
    "long words": flow_document({"a" * 100_000: {"type": "b" * 100_000}}),
    "patterns": flow_document(
        {
            "a": {"type": "transfer", "sip": "sip:" + "a" * 400_000},
            "b": {"type": "transfer", "number": "+" + "1" * 90_000},
        }
    ),
    "a number beyond all numbers": b'{"name":"x","start":"a","nodes":{"a":{"type":"wait","seconds":1e999}}}',
    "no text": b"\0" * 400_000,
    "no UTF-8": b'{"name":"\xff\xfe"}',
    "one key again and again": b"{" + b'"a":1,' * 60_000 + b'"b":2}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_rejected_in_bounded_time(name: str) -> None:
    """Measured: the slowest takes 1.3 s on an idle machine."""
    started = time.process_time()
    version, diagnostics = validate_flow(HOSTILE[name])
    assert time.process_time() - started < 10
    assert version is None
    assert diagnostics
    assert all(len(str(diagnostic)) < 1_000 for diagnostic in diagnostics)


@pytest.mark.parametrize(
    "name",
    [
        "10 MB of text",
        "100,000 nodes",
        "as many small nodes as fit",
        "deep nesting",
        "30,000 dates",
        "one key again and again",
    ],
)
def test_hostile_document_is_rejected_in_bounded_memory(name: str) -> None:
    """Measured: 20 MB for the largest. The others take too long under tracemalloc."""
    tracemalloc.start()
    validate_flow(HOSTILE[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000
