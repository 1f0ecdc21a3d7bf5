"""Checks of the destinations in flows and departments: each diagnostic has a path."""

import json

from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import DialContext
from vocelio.gateway.model.tenant import Department, DialRules

DIAL_CONTEXT = DialContext(DialRules(), frozenset({"US"}), frozenset({"+13072249663"}))


def flow_document(**transfers):
    nodes = {name: {"type": "transfer", **fields} for name, fields in transfers.items()}
    return json.dumps({"name": "F", "start": "a", "nodes": nodes}).encode()


def check_flow(departments=None, **transfers):
    problems = validation.check_flow(
        DIAL_CONTEXT, departments or {}, validation.find_targets(flow_document(**transfers))
    )
    return [(problem.path, problem.code) for problem in problems]


def test_diagnostics_of_a_flow_have_paths():
    assert check_flow(
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


def test_diagnostics_of_the_engine_are_not_repeated():
    assert check_flow(a={"number": "911", "caller_id": "me"}, b={"sip": "desk"}, c={"number": 5}, d={}) == []


def test_department_without_an_allowed_number_is_reported():
    departments = {"old": Department(("+18765550123",)), "some": Department(("+18765550123", "+13105550111"))}
    assert check_flow(departments, a={"department": "old"}, b={"department": "some"}, c={"department": "none"}) == [
        ("nodes.a.department", "destination")
    ]


def test_malformed_document_has_no_targets():
    for written in (b"", b"[]", b'{"nodes": []}', b'{"nodes": {"a": 1, "b": {"type": 5}}}', b"\xff"):
        assert validation.find_targets(written) == []


def test_diagnostics_of_a_department_have_paths():
    wrong = Department(("+13105550111", "+881612345678"), whisper="{{ nobody }}")
    problems = validation.check_department(DIAL_CONTEXT, wrong)
    assert [problem.path for problem in problems] == ["numbers[1]", "whisper"]
    assert "satellite" in problems[0].message


def test_home_countries_are_those_of_the_tenants_numbers():
    assert validation.find_home_countries([]) is None
    assert validation.find_home_countries(["+13072249663", "+442079460123"]) == {"US", "GB"}
    assert validation.find_home_countries(["+999123456789"]) is None
