"""Transfers over the simulated carrier: who rings, what they are shown and told, for how long, and who never rings."""

from xml.etree import ElementTree

import pytest

from tests.integration.webhooks.test_incoming import post_voice
from tests.support.running_gateway import CALLER, DEPARTMENTS, NUMBER, make_call_config, running_gateway
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.model.directory import NumberClosed
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.verbs.dial import Callee
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory

OTHER = "+13072249664"
NEVER = OpeningHours("UTC")
ALWAYS = OpeningHours("UTC", dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), (("00:00", "24:00"),)))
WHISPER = "{{ department }} call for {{ tenant.name }} from {{ caller.number }}"


def transfer_flow(**target):
    texts = {name: {"type": "hangup", "text": f"It was {name}."} for name in ("busy", "no_answer", "failed")}
    node = {"type": "transfer", **target, "exits": {name: name for name in texts}}
    return {"name": "Ring", "start": "ring", "nodes": {"ring": node, **texts}}


def gateway_with(departments=None, settings=None, **target):
    journal = InMemoryCallStore()
    tenant = Tenant(id="harbour", name="Harbour Tools", **(settings or {}))
    result = make_call_config(
        transfer_flow(**target), departments={**DEPARTMENTS, **(departments or {})}, tenant=tenant
    )
    other = NumberClosed(number=OTHER, tenant="harbour", outcome="unassigned")
    site = InMemoryDirectory([result, other], call_store=journal)
    return running_gateway(None, ScriptedRecognizer(), ToneSynthesizer(), directory=site, call_store=journal)


def say_texts(running):
    return [event["text"] for event in running.bus.data_of("prompt.started")]


def failure_reasons(running):
    return [event["reason"] for event in running.bus.data_of("transfer.rejected")]


async def test_open_department_hears_the_whisper_first():
    departments = {"billing": Department(("+13105550112",), whisper=WHISPER, hours=ALWAYS)}
    async with gateway_with(departments, department="billing") as running:
        report = await running.call()
        withheld = await running.simulator.call(NUMBER, "anonymous")
    (dialed,) = report.dial_results
    assert dialed.whisper_text == "billing call for Harbour Tools from 3 1 0, 5 5 5, 0 1 4 2"
    assert dialed.caller_id == CALLER
    (dialed,) = withheld.dial_results
    assert dialed.whisper_text == "billing call for Harbour Tools from a withheld number"
    assert dialed.caller_id == NUMBER, "Twilio takes no empty one"
    assert (report.errors, withheld.errors) == ((), ())


async def test_simultaneous_ringing_connects_the_first_answer():
    departments = {"all": Department(("+13105550111", "+13105550112"), ring="simultaneous", whisper="Hello.")}
    async with gateway_with(departments, department="all") as running:
        dials = {
            "+13105550111": Callee("answered", ring_seconds=0.5),
            "+13105550112": Callee("answered", ring_seconds=0.1),
        }
        report = await running.call(callees=dials)
    assert {(dialed.target, dialed.outcome) for dialed in report.dial_results} == {
        ("+13105550111", "no-answer"),
        ("+13105550112", "answered"),
    }
    assert report.errors == ()


async def test_sequential_ringing_without_answer_continues_the_flow():
    async with gateway_with(department="support") as running:
        report = await running.call(callees=["busy", "no-answer"])
        assert say_texts(running) == ["It was no_answer."]
    assert [dialed.target for dialed in report.dial_results] == ["+13105550113", "+13105550114"]


async def test_closed_department_is_not_rung():
    async with gateway_with({"desk": Department(("+13105550110",), hours=NEVER)}, department="desk") as running:
        report = await running.call()
        assert (failure_reasons(running), say_texts(running)) == (["closed"], ["It was no_answer."])
        assert running.bus.data_of("transfer.started") == []
        assert running.bus.data_of("call.ended")[0]["department"] == ""
    assert (report.dial_results, report.errors) == ((), ())


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"number": "+19005550123"}, "premium_rate"),
        ({"number": "+18765550123"}, "country_not_allowed"),
        ({"sip": "sip:desk@pbx.example.com"}, "sip_not_allowed"),
    ],
)
async def test_disallowed_destination_is_not_rung(target, reason):
    async with gateway_with(**target) as running:
        report = await running.call()
        assert (failure_reasons(running), say_texts(running)) == ([reason], ["It was failed."])
    assert (report.dial_results, report.errors) == ((), ())


async def test_allowed_sip_address_rings_with_whisper():
    address = "sip:desk@pbx.example.com"
    settings = {"allowed_sip_hosts": ("pbx.example.com",)}
    async with gateway_with(settings=settings, sip=address, whisper="Hello {{ tenant.name }}.") as running:
        report = await running.call()
    assert [(dialed.target, dialed.whisper_text) for dialed in report.dial_results] == [
        (address, "Hello Harbour Tools.")
    ]
    assert report.errors == ()


async def test_hourly_transfer_limit_rejects():
    async with gateway_with(settings={"max_transfers_per_hour": 2}, department="sales") as running:
        reports = [await running.call() for _ in range(3)]
        assert [len(report.dial_results) for report in reports] == [1, 1, 0]
        assert (failure_reasons(running), say_texts(running)) == (["limit_reached"], ["It was busy."])


@pytest.mark.parametrize(
    ("caller_id", "body"), [("", CALLER), (NUMBER, NUMBER), (OTHER, OTHER), ("+13105550199", CALLER)]
)
async def test_caller_id_must_be_a_number_of_the_tenant(caller_id, body):
    async with gateway_with(department="sales", caller_id=caller_id) as running:
        report = await running.call()
        changed = [event["value"] for event in running.bus.data_of("transfer.adjusted")]
    assert [dialed.caller_id for dialed in report.dial_results] == [body]
    assert changed == ([] if caller_id in ("", body) else [caller_id])


async def test_transfer_ends_at_its_maximum_duration():
    async with gateway_with(settings={"max_transfer_seconds": 60}, department="everybody") as running:
        ticket = await running.simulator.start_call(NUMBER, CALLER)
        await running.simulator.stream(ticket, b"\xff" * 160, 1.0)
        first = await post_voice(running, "/twilio/continue", call=ticket.call_sid)
        assert first == await post_voice(running, "/twilio/continue", call=ticket.call_sid), "asked twice"
        verb = ElementTree.fromstring(first[1]).find("Dial")
        assert {name: verb.get(name) for name in ("timeLimit", "timeout", "callerId")} == {
            "timeLimit": "60",
            "timeout": "20",
            "callerId": CALLER,
        }
        assert [number.text for number in verb.findall("Number")] == ["+13105550111", "+13105550112"]


async def test_forwarded_call_has_a_maximum_duration():
    site = InMemoryDirectory(
        [
            NumberClosed(
                number=NUMBER, tenant="harbour", outcome="paused", forward_to="+13105550199", max_transfer_seconds=90
            )
        ]
    )
    async with running_gateway(None, ScriptedRecognizer(), ToneSynthesizer(), directory=site) as running:
        _, text = await post_voice(running, "/twilio/voice", From="anonymous")
        verb = ElementTree.fromstring(text).find("Dial")
        assert (verb.get("timeLimit"), verb.get("callerId"), verb.get("answerOnBridge")) == ("90", NUMBER, "true")
        report = await running.call()
    assert [(dialed.target, dialed.caller_id) for dialed in report.dial_results] == [("+13105550199", CALLER)]
    assert report.errors == ()
