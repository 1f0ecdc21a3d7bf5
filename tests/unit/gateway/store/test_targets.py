"""Whom flows and departments name, checked against the tenant's rules: each problem with its place."""

import json

from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import Rules
from vocelio.gateway.model.tenant import Department, Reach

RULES = Rules(Reach(), frozenset({"US"}), frozenset({"+13072249663"}))


def document(**transfers):
    nodes = {name: {"type": "transfer", **fields} for name, fields in transfers.items()}
    return json.dumps({"name": "F", "start": "a", "nodes": nodes}).encode()


def found(departments=None, **transfers):
    problems = validation.of_flow(RULES, departments or {}, validation.named(document(**transfers)))
    return [(problem.path, problem.code) for problem in problems]


def test_a_flows_problems_have_their_places():
    assert found(
        fine={"number": "+13105550111", "caller_id": "+13072249663"},
        dear={"number": "+19005550123"},
        abroad={"number": "+18765550123", "caller_id": "+13105550199"},
        sip={"sip": "sip:desk@pbx.example.com"},
    ) == [
        ("nodes.dear.number", "destination"),
        ("nodes.abroad.number", "destination"),
        ("nodes.abroad.caller_id", "caller-id"),
        ("nodes.sip.sip", "destination"),
    ]


def test_what_the_engine_tells_is_not_told_twice():
    assert found(a={"number": "911", "caller_id": "me"}, b={"sip": "desk"}, c={"number": 5}, d={}) == []


def test_a_department_that_may_not_be_rung_any_more():
    departments = {"old": Department(("+18765550123",)), "some": Department(("+18765550123", "+13105550111"))}
    assert found(departments, a={"department": "old"}, b={"department": "some"}, c={"department": "none"}) == [
        ("nodes.a.department", "destination")
    ]


def test_what_is_no_flow_names_nobody():
    for written in (b"", b"[]", b'{"nodes": []}', b'{"nodes": {"a": 1, "b": {"type": 5}}}', b"\xff"):
        assert validation.named(written) == []


def test_a_departments_problems_have_their_places():
    wrong = Department(("+13105550111", "+881612345678"), whisper="{{ nobody }}")
    problems = validation.of_department(RULES, wrong)
    assert [problem.path for problem in problems] == ["numbers[1]", "whisper"]
    assert "satellite" in problems[0].message


def test_the_home_of_a_tenant_is_where_its_numbers_are():
    assert validation.home_of([]) is None
    assert validation.home_of(["+13072249663", "+442079460123"]) == {"US", "GB"}
    assert validation.home_of(["+999123456789"]) is None
