"""Calls that come to no flow: what the caller hears, and what is kept of them."""

import msgspec
import pytest

from tests.support.running_gateway import (
    ACCOUNT,
    CALLER,
    NUMBER,
    PUBLIC_URL,
    TENANT,
    TOKEN,
    make_call_config,
    running_gateway,
)
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import NumberClosed
from vocelio.gateway.model.tenant import NOT_IN_SERVICE_MESSAGE
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store.in_memory import InMemoryDirectory

BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}
OWN_ACCOUNT, OWN_TOKEN = "AC" + "7" * 32, "the auth token of the tenant"
OTHER_ACCOUNT, OTHER_TOKEN = "AC" + "8" * 32, "the auth token of another tenant"


async def token_lookup(account):
    return {OWN_ACCOUNT: OWN_TOKEN, OTHER_ACCOUNT: OTHER_TOKEN}.get(account)


def paused_gateway(*result):
    return running_gateway(
        BYE, ScriptedRecognizer(), ToneSynthesizer(), directory=InMemoryDirectory(result), accounts=token_lookup
    )


def closed_number(**parts):
    return NumberClosed(number=NUMBER, tenant="harbour", flow="flow", **parts)


def open_number(account_sid="", **settings):
    return make_call_config(BYE, account_sid=account_sid, tenant=msgspec.structs.replace(TENANT, **settings))


async def test_paused_flow_plays_its_message_and_saves_the_call():
    async with paused_gateway(closed_number(outcome="paused", message="We are closed for the holidays.")) as running:
        report = await running.call()
        assert (report.ending, report.errors) == ("hangup", ())
        assert report.say_texts == ("We are closed for the holidays.",)
        assert running.bus.data_of("call.rejected") == [
            {"caller": CALLER, "number": NUMBER, "flow": "flow", "outcome": "paused"}
        ]
        (kept,) = running.call_store.calls.values()
        assert (kept.outcome, kept.version, kept.segments) == ("paused", 0, ())
        assert kept.ended_at >= kept.started_at > 0


async def test_a_paused_flow_forwards_to_a_number():
    async with paused_gateway(closed_number(outcome="paused", forward_to="+13105550199")) as running:
        report = await running.call()
        assert [dialed.target for dialed in report.dial_results] == ["+13105550199"]
        assert report.errors == ()


async def test_a_blocked_caller_is_rejected():
    async with paused_gateway(open_number(blocked_callers=(CALLER,))) as running:
        report = await running.call()
        assert (report.ending, report.errors) == ("rejected", ())
        assert running.bus.data_of("call.rejected")[0]["outcome"] == "blocked"


async def test_call_beyond_the_tenant_limit_is_rejected():
    async with paused_gateway(
        open_number(max_concurrent_calls=1, unavailable_message="All lines are busy.")
    ) as running:
        first = await running.simulator.start_call(NUMBER, CALLER)
        report = await running.call()
        assert report.say_texts == ("All lines are busy.",)
        assert running.bus.data_of("call.rejected")[0]["outcome"] == "tenant_limit"
        await running.simulator.stream(first, b"\xff" * 160, 3.0)
        assert running.bus.data_of("call.ended")[0]["outcome"] in ("completed", "abandoned")
        again = await running.call()
        assert again.say_texts == ()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("claimed", ["", OWN_ACCOUNT, OTHER_ACCOUNT])
@pytest.mark.parametrize(
    ("account", "token"), [(ACCOUNT, TOKEN), (OWN_ACCOUNT, OWN_TOKEN), (OTHER_ACCOUNT, OTHER_TOKEN)]
)
async def test_number_is_reached_by_the_account_that_has_it_only(account, token, claimed, closed):
    """Also the platform's account reaches no number of a tenant's own account."""
    answered = account == (claimed or ACCOUNT)
    number = closed_number(outcome="paused", message="Closed.", account_sid=claimed) if closed else open_number(claimed)
    async with (
        paused_gateway(number) as running,
        TwilioSimulator(running.origin, PUBLIC_URL, account, token) as carrier,
    ):
        report = await carrier.call(NUMBER, CALLER)
        assert (report.say_texts == (NOT_IN_SERVICE_MESSAGE,)) is not answered
        assert len(running.bus.data_of("call.started")) == int(answered and not closed)
        assert len(running.bus.data_of("call.rejected")) == int(answered and closed)
        assert report.errors == ()


class UnavailableDirectory(InMemoryDirectory):
    """The store does not answer."""

    async def get_call_config(self, number):
        raise DatabaseUnavailable


async def test_database_outage_plays_the_error_message():
    async with running_gateway(
        BYE, ScriptedRecognizer(), ToneSynthesizer(), directory=UnavailableDirectory([])
    ) as running:
        report = await running.call()
        assert "call again later" in report.say_texts[0]
        assert (report.ending, report.errors) == ("hangup", ())
        assert ACCOUNT not in str(report.say_texts)
