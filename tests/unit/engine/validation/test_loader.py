"""The document: broken flows and exactly what is said about each; what is hostile is refused in good time."""

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
def test_all_that_is_wrong_with_a_flow_is_said(name: str) -> None:
    document = (FLOWS / f"{name}.json").read_bytes()
    version, problems = validate_flow(document, msgspec.structs.replace(KNOWN, flow_name=name))
    assert "".join(f"{problem}\n" for problem in problems) == (FLOWS / f"{name}.diagnostics").read_text()
    assert (version is None) == any(problem.severity == "error" for problem in problems)


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 30


def test_every_error_is_in_the_exception() -> None:
    with pytest.raises(DocumentError) as caught:
        load_flow(flow_document({"a": {"type": "say", "text": "{{ x }}", "exits": {"next": "b"}}}))
    assert [problem.code for problem in caught.value.diagnostics] == ["no-such-node", "unknown-variable"]
    assert "nodes.a.exits.next: error [no-such-node]" in str(caught.value)


def test_warnings_do_not_stop_a_flow() -> None:
    version, problems = validate_flow(flow_document({"a": BYE, "b": BYE}))
    assert version
    assert [problem.severity for problem in problems] == ["warning"]


def test_a_version_is_known_by_its_content_and_its_subflows() -> None:
    document = flow_document({"a": {"type": "subflow", "flow": "verify", "exits": {"next": "b"}}, "b": BYE})
    one, same, other = load_flow(document, KNOWN), load_flow(document, KNOWN), load_flow(document)
    assert one.id == same.id != other.id
    assert one.subflows == {"verify": VERIFY}


def test_a_document_may_name_its_schema() -> None:
    assert load_flow(flow_document({"a": BYE}, **{"$schema": "flow.schema.json"}))


def test_no_more_problems_are_told_than_anybody_reads() -> None:
    version, problems = validate_flow(flow_document({f"n{n}": {"type": "lost"} for n in range(500)}))
    assert version is None
    assert len(problems) == MAX_DIAGNOSTICS
    assert problems[-1].code == "too-many-problems"


# Flows that call each other


def subflow_node(*names: str) -> bytes:
    nodes: dict[str, Any] = {f"n{n}": {"type": "subflow", "flow": name} for n, name in enumerate(names)}
    return flow_document({"w": {"type": "wait", "seconds": 1, "exits": {"next": "n0" if names else "w"}}, **nodes})


def test_flows_are_checked_in_the_order_in_which_they_need_each_other() -> None:
    checked = validate_all({"a": subflow_node("b", "c"), "b": subflow_node("c"), "c": subflow_node()})
    versions = {name: version for name, (version, _) in checked.items()}
    assert all(versions.values())
    assert versions["a"] is not None
    assert versions["a"].subflows == {"b": versions["b"], "c": versions["c"]}


def test_a_circle_is_an_error_in_each_of_its_flows_and_broken_to_others() -> None:
    checked = validate_all(
        {
            "a": subflow_node("b"),
            "b": subflow_node("c"),
            "c": subflow_node("a"),
            "d": subflow_node("a"),
            "e": subflow_node("e"),
        }
    )
    codes = {name: [p.code for p in problems if p.severity == "error"] for name, (_, problems) in checked.items()}
    assert codes == {
        "a": ["subflow-cycle"],
        "b": ["subflow-cycle"],
        "c": ["subflow-cycle"],
        "d": ["invalid-subflow"],
        "e": ["subflow-cycle"],
    }


def test_flows_do_not_nest_too_deeply() -> None:
    documents = {f"f{n}": subflow_node(f"f{n + 1}") for n in range(12)} | {"f12": subflow_node()}
    codes = {name: {p.code for p in problems} for name, (_, problems) in validate_all(documents).items()}
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
def test_what_is_hostile_is_refused_in_good_time(name: str) -> None:
    """Measured: the slowest takes 1.3 s alone on its machine."""
    began = time.process_time()
    version, problems = validate_flow(HOSTILE[name])
    assert time.process_time() - began < 10
    assert version is None
    assert problems
    assert all(len(str(problem)) < 1_000 for problem in problems)


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
def test_what_is_hostile_is_refused_in_little_memory(name: str) -> None:
    """Measured: 20 MB for the largest. The others take too long under tracemalloc."""
    tracemalloc.start()
    validate_flow(HOSTILE[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000
