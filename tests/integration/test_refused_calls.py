"""Calls that come to no flow: what the caller hears, and what is kept of them."""

import msgspec
import pytest

from tests.gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, TENANT, assignment, gateway
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Closed
from vocelio.gateway.model.tenant import DEFAULT_APOLOGY
from vocelio.gateway.simulator.simulator import Carrier
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store.in_memory import MemorySite

BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}
OWN_ACCOUNT, OWN_TOKEN = "AC" + "7" * 32, "the auth token of the tenant"
OTHER_ACCOUNT, OTHER_TOKEN = "AC" + "8" * 32, "the auth token of another tenant"


async def tokens(account):
    return {OWN_ACCOUNT: OWN_TOKEN, OTHER_ACCOUNT: OTHER_TOKEN}.get(account)


def served(*found):
    return gateway(BYE, ScriptedRecognizer(), ToneSynthesizer(), site=MemorySite(found), accounts=tokens)


def closed(**parts):
    return Closed(number=NUMBER, tenant="harbour", flow="flow", **parts)


def owned(**settings):
    return (
        assignment(BYE, account=OWN_ACCOUNT)
        if not settings
        else msgspec.structs.replace(
            assignment(BYE, account=OWN_ACCOUNT), tenant=msgspec.structs.replace(TENANT, **settings)
        )
    )


async def test_a_paused_flow_says_so_and_the_call_is_kept():
    async with served(closed(outcome="paused", text="We are closed for the holidays.")) as running:
        report = await running.call()
        assert (report.ended, report.errors) == ("hangup", ())
        assert report.spoken == ("We are closed for the holidays.",)
        assert running.bus.of("call.refused") == [
            {"caller": CALLER, "number": NUMBER, "flow": "flow", "outcome": "paused"}
        ]
        (kept,) = running.journal.calls.values()
        assert (kept.outcome, kept.version, kept.segments) == ("paused", 0, ())
        assert kept.ended >= kept.started > 0


async def test_a_paused_flow_forwards_to_a_number():
    async with served(closed(outcome="paused", forward="+13105550199")) as running:
        report = await running.call()
        assert [dialed.target for dialed in report.dialed] == ["+13105550199"]
        assert report.errors == ()


async def test_a_blocked_caller_is_rejected():
    async with served(owned(blocked=(CALLER,))) as running:
        report = await running.call()
        assert (report.ended, report.errors) == ("rejected", ())
        assert running.bus.of("call.refused")[0]["outcome"] == "blocked"


async def test_one_call_too_many():
    async with served(owned(max_calls=1, pause="All lines are busy.")) as running:
        first = await running.carrier.ring(NUMBER, CALLER)
        report = await running.call()
        assert report.spoken == ("All lines are busy.",)
        assert running.bus.of("call.refused")[0]["outcome"] == "busy"
        await running.carrier.stream(first, b"\xff" * 160, 3.0)
        assert running.bus.of("call.ended")[0]["outcome"] in ("completed", "abandoned")
        again = await running.call()
        assert again.spoken == ()


@pytest.mark.parametrize(
    ("account", "token", "answered"), [(OWN_ACCOUNT, OWN_TOKEN, True), (OTHER_ACCOUNT, OTHER_TOKEN, False)]
)
async def test_a_tenants_account_reaches_that_tenants_numbers_only(account, token, answered):
    async with served(owned()) as running, Carrier(running.origin, PUBLIC_URL, account, token) as carrier:
        report = await carrier.call(NUMBER, CALLER)
        assert (report.spoken == (DEFAULT_APOLOGY,)) is not answered
        assert len(running.bus.of("call.started")) == int(answered)
        assert report.errors == ()


class AwaySite(MemorySite):
    """The store does not answer."""

    async def assignment(self, number):
        raise StoreUnavailable


async def test_without_the_store_a_caller_hears_an_apology():
    async with gateway(BYE, ScriptedRecognizer(), ToneSynthesizer(), site=AwaySite([])) as running:
        report = await running.call()
        assert "call again later" in report.spoken[0]
        assert (report.ended, report.errors) == ("hangup", ())
        assert ACCOUNT not in str(report.spoken)
