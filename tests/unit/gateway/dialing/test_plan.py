"""Dial plans: order of ringing, caller id, whisper, rejections."""

from datetime import UTC, datetime

import pytest

from tests.support.running_gateway import CALLER, NUMBER, make_call_config
from vocelio.engine.actions import Transfer
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.dialing import plan as dial_plan
from vocelio.gateway.dialing.plan import DialAdjustment, DialPlan, DialRejection
from vocelio.gateway.model.tenant import Department, Tenant

FLOW = {"name": "F", "start": "a", "nodes": {"a": {"type": "hangup"}}}
BUSINESS_HOURS = OpeningHours("America/Los_Angeles", {"mon": (("09:00", "17:00"),)}, ("2026-03-09",))
DEPARTMENTS = {
    "support": Department(
        ("+13105550113", "+13105550114"), ring_timeout_seconds=15.4, whisper="From {{ caller.number }}."
    ),
    "all": Department(("+13105550111", "+13105550112"), ring="simultaneous"),
    "hours": Department(("+13105550111",), hours=BUSINESS_HOURS),
    "tenants_hours": Department(("+13105550111",), hours=OpeningHours("", BUSINESS_HOURS.weekly)),
    "half": Department(("+18765550123", "+13105550111")),
    "abroad": Department(("+18765550123", "+19005550123")),
}


def make_plan(at=None, own=True, caller=CALLER, tenant=None, **parts):
    tenant = Tenant(id="harbour", name="Harbour Tools", time_zone="Europe/Berlin", **(tenant or {}))
    result = make_call_config(FLOW, tenant=tenant, departments=DEPARTMENTS)
    return dial_plan.build_plan(result, Transfer("t1", **parts), caller, now=at, is_own_number=own)


def to_instant(*when):
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1e6)


def test_sequential_ringing_has_one_number_per_attempt():
    assert make_plan(department="support") == DialPlan(
        attempts=(("+13105550113",), ("+13105550114",)),
        ring_seconds=15,
        caller_id=CALLER,
        time_limit_seconds=14_400,
        whisper="From 3 1 0, 5 5 5, 0 1 4 2.",
    )


def test_simultaneous_ringing_is_one_attempt():
    assert make_plan(department="all").attempts == (("+13105550111", "+13105550112"),)
    assert make_plan(department="all", ring="sequential").attempts == (("+13105550111",), ("+13105550112",))
    assert make_plan(department="support", ring="simultaneous").attempts == (("+13105550113", "+13105550114"),)


def test_plan_for_a_number_and_for_a_sip_address():
    assert make_plan(number="+13105550111").attempts == (("+13105550111",),)
    address = "sip:desk@pbx.example.com"
    assert make_plan(sip=address) == DialRejection("sip_not_allowed")
    assert make_plan(sip=address, tenant={"allowed_sip_hosts": ("pbx.example.com",)}).attempts == ((address,),)


def test_transfer_overrides_whisper_and_times_of_the_department():
    result = make_plan(
        department="support", ring_seconds=0.2, whisper="About \0 a saw.", tenant={"max_transfer_seconds": 60}
    )
    assert (result.ring_seconds, result.whisper, result.time_limit_seconds) == (1, "About   a saw.", 60)
    assert make_plan(number="+13105550111", whisper="W").whisper == "W"


@pytest.mark.parametrize(
    ("when", "department", "rung"),
    [
        ((2026, 3, 2, 18, 0), "hours", True),  # Monday, 10 in Los Angeles
        ((2026, 3, 2, 10, 0), "hours", False),  # 2 in Los Angeles
        ((2026, 3, 9, 18, 0), "hours", False),  # a holiday
        ((2026, 3, 2, 10, 0), "tenants_hours", True),  # 11 in Berlin, where the tenant is
        ((2026, 3, 2, 18, 0), "tenants_hours", False),
        ((2026, 3, 2, 3, 0), "support", True),  # it has no hours
    ],
)
def test_closed_department_is_rejected(when, department, rung):
    result = make_plan(at=to_instant(*when), department=department)
    assert isinstance(result, DialPlan) if rung else result == DialRejection("closed")
    assert isinstance(make_plan(department=department), DialPlan), "once it was begun, nobody asks again"


@pytest.mark.parametrize(
    ("wanted", "own", "caller", "body", "changes"),
    [
        ("", True, CALLER, CALLER, ()),
        ("", True, "", NUMBER, ()),
        ("+13072249664", True, CALLER, "+13072249664", ()),
        ("+13072249664", False, CALLER, CALLER, (DialAdjustment("caller_id", "+13072249664", "not_owned"),)),
        ("+13072249664", False, "", NUMBER, (DialAdjustment("caller_id", "+13072249664", "not_owned"),)),
        (CALLER, False, CALLER, CALLER, ()),
        (NUMBER, False, CALLER, NUMBER, ()),
    ],
)
def test_caller_id_shown_to_the_callee(wanted, own, caller, body, changes):
    result = make_plan(number="+13105550111", caller_id=wanted, own=own, caller=caller)
    assert (result.caller_id, result.adjustments) == (body, changes)


def test_only_allowed_numbers_of_a_department_are_rung():
    result = make_plan(department="half")
    assert (result.attempts, result.adjustments) == (
        (("+13105550111",),),
        (DialAdjustment("number", "+18765550123", "country_not_allowed"),),
    )
    assert make_plan(department="abroad") == DialRejection("country_not_allowed"), "the first number's reason"
    assert make_plan(department="abroad", tenant={"allowed_countries": ("US", "JM")}).attempts == (("+18765550123",),)


@pytest.mark.parametrize(
    ("refusal", "exit_name"),
    [
        (make_plan(number="+19005550123"), "failed"),
        (make_plan(number="+1900"), "failed"),
        (make_plan(department="nobody"), "failed"),
        (make_plan(), "failed"),
        (DialRejection("closed"), "no_answer"),
        (DialRejection("limit_reached"), "busy"),
    ],
)
def test_exit_of_each_rejection(refusal, exit_name):
    assert isinstance(refusal, DialRejection)
    assert refusal.exit == exit_name
