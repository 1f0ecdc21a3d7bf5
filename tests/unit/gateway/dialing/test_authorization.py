"""Authorization of transfers: decided while the caller is connected, at a limited rate."""

import logging

import pytest

from tests.support.twilio_peer import CALL, STARTED_AT, TENANT, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.engine.actions import Transfer
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.dialing.plan import DialRejection
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import TransferCounts
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.store.in_memory import InMemoryDirectory


def make_flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


def transfer_flow(exits=("busy", "no_answer", "failed"), **target):
    """Build a flow with a transfer and a text for each exit."""
    texts = {name: {"type": "hangup", "text": f"It was {name}."} for name in exits}
    return make_flow(ring={"type": "transfer", **target, "exits": {name: name for name in exits}}, **texts)


def make_tenant(**settings):
    return Tenant(id=TENANT.id, name=TENANT.name, **settings)


def start_call(env):
    return TwilioPeer(env, env.stream_token())


def spoken_texts(env):
    return [event["text"] for event in env.data_of("prompt.started")]


class BusyDirectory(InMemoryDirectory):
    """A directory with a fixed number of transfers."""

    there, asked_at = TransferCounts(), 0

    async def count_transfers(self, tenant, since):
        assert since == STARTED_AT - 3_600_000_000 + self.asked_at
        return self.there


class SlowDirectory(InMemoryDirectory):
    """A directory that cannot count transfers for some seconds."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.left = 3

    async def count_transfers(self, tenant, since):
        if self.left:
            self.left -= 1
            raise DatabaseUnavailable
        return TransferCounts()


class FailingDirectory(SlowDirectory):
    async def count_transfers(self, tenant, since):
        raise DatabaseUnavailable


CLOSED_HOURS = OpeningHours("UTC", {"sun": (("00:00", "00:01"),)})  # START is on a Tuesday
REJECTION_CASES = [
    ({"department": "night"}, {}, "closed", "It was no_answer."),
    ({"number": "+19005550123"}, {}, "premium_rate", "It was failed."),
    ({"number": "+18765550123"}, {}, "country_not_allowed", "It was failed."),
    ({"sip": "sip:a@pbx.example.com"}, {}, "sip_not_allowed", "It was failed."),
    ({"department": "sales"}, {"max_transfers_per_hour": 0}, "limit_reached", "It was busy."),
    ({"department": "sales"}, {"max_concurrent_transfers": 0}, "limit_reached", "It was busy."),
]


@pytest.mark.parametrize(
    ("target", "settings", "reason", "text"), REJECTION_CASES, ids=[row[2] for row in REJECTION_CASES]
)
def test_rejected_transfer_keeps_the_stream_and_continues_the_flow(target, settings, reason, text):
    @in_virtual_time
    async def call():
        departments = {
            "night": Department(("+13105550111",), hours=CLOSED_HOURS),
            "sales": Department(("+13105550111",)),
        }
        env = CallEnv(transfer_flow(**target), tenant=make_tenant(**settings), departments=departments)
        peer = start_call(env)
        await peer.run(5)
        body = {"department": target.get("department", ""), "number": target.get("number", "")}
        assert env.data_of("transfer.rejected") == [{**body, "reason": reason}]
        assert env.data_of("transfer.started") == []
        assert (spoken_texts(env), env.call_record.stored.generation, env.call_record.stored.department) == (
            [text],
            1,
            "",
        )
        assert peer.close_code == 1000
        await peer.disconnect()

    call()


@in_virtual_time
async def test_flow_that_retries_a_rejected_transfer_is_throttled():
    again = make_flow(ring={"type": "transfer", "number": "+19005550123", "exits": {"failed": "ring"}})
    env = CallEnv(again)
    peer = start_call(env)
    await peer.run(5.5)
    assert len(env.data_of("transfer.rejected")) == 8
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()


@in_virtual_time
async def test_adjustments_are_published():
    departments = {"sales": Department(("+18765550123", "+13105550111"))}
    env = CallEnv(transfer_flow(department="sales", caller_id="+13105550199"), departments=departments)
    peer = start_call(env)
    await peer.run(2)
    common = {"department": "sales", "number": ""}
    assert env.data_of("transfer.adjusted") == [
        {**common, "field": "number", "value": "+18765550123", "reason": "country_not_allowed"},
        {**common, "field": "caller_id", "value": "+13105550199", "reason": "not_owned"},
    ]
    assert env.call_record.resume.phase.transfer.caller_id == "+13105550142", "the caller's own"
    await peer.disconnect()


@in_virtual_time
async def test_operators_transfer_is_authorized_too():
    env = CallEnv(
        make_flow(wait={"type": "wait", "seconds": 60, "exits": {}}),
        departments={"night": Department(("+13105550111",), hours=CLOSED_HOURS)},
    )
    peer = start_call(env)
    await peer.run(1)
    assert (await env.calls.command_router.execute_command("harbour", CALL, "transfer", "night")).verdict == "accepted"
    await peer.run(1)
    assert [event["reason"] for event in env.data_of("transfer.rejected")] == ["closed"]
    assert peer.close_code is None, "the caller is where they were"
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()


@in_virtual_time
async def test_authorization_waits_for_a_short_database_outage():
    env = CallEnv(transfer_flow(department="sales"), site=SlowDirectory)
    peer = start_call(env)
    await peer.run(6)
    assert (peer.close_code, env.call_record.stored.department) == (1000, "sales")
    assert spoken_texts(env) == ["One moment, please."]
    await peer.disconnect()


@in_virtual_time
async def test_transfer_is_not_authorized_without_the_database():
    env = CallEnv(transfer_flow(department="sales"), site=FailingDirectory)
    peer = start_call(env)
    await peer.run(14)
    assert spoken_texts(env) == ["One moment, please."] * 3 + ["It was failed."]
    assert env.data_of("database.unavailable") == [{"timeout_seconds": 10.0}]
    assert env.data_of("transfer.started") == []
    await peer.disconnect()


@in_virtual_time
async def test_hangup_during_authorization_cancels_the_transfer():
    env = CallEnv(transfer_flow(department="sales"), site=FailingDirectory)
    peer = start_call(env)
    await peer.run(2)
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()
    assert [event["outcome"] for event in env.data_of("call.ended")] == ["abandoned"]


@in_virtual_time
async def test_transfer_limits_are_enforced_and_logged():
    reported = []
    handler = logging.Handler()
    handler.emit = lambda record: reported.append(record.getMessage())
    logging.getLogger("vocelio.gateway.dialing.authorization").addHandler(handler)
    env = CallEnv(
        transfer_flow(department="sales"),
        site=BusyDirectory,
        tenant=make_tenant(max_transfers_per_hour=5, max_concurrent_transfers=3),
    )
    clearance, transfer = env.calls.transfer_authorizer, Transfer("t1", department="sales")

    async def refused(begun, under_way, at):
        env.shift_clock(at - env.clock_offset_seconds)
        BusyDirectory.there, BusyDirectory.asked_at = TransferCounts(begun, under_way), at * 1_000_000
        return await clearance.authorize(env.call_config, transfer, "") == DialRejection("limit_reached")

    assert [await refused(4, 2, 0), await refused(5, 0, 1), await refused(0, 3, 59)] == [False, True, True]
    assert len(reported) == 1
    assert await refused(9, 9, 61)
    assert reported == [
        "tenant harbour has reached its transfer limit: 5 within an hour, 0 concurrent; rejecting transfers",
        "tenant harbour has reached its transfer limit: 9 within an hour, 9 concurrent; rejecting transfers",
    ]
    logging.getLogger("vocelio.gateway.dialing.authorization").removeHandler(handler)
    await env.calls.lifecycle.aclose()


@in_virtual_time
async def test_in_memory_directory_counts_transfers_of_the_call_store():
    env = CallEnv(transfer_flow(department="sales"))
    peer = start_call(env)
    await peer.run(2)
    site = env.calls.services.directory
    assert await site.count_transfers("harbour", STARTED_AT) == TransferCounts(1, 1)
    assert await site.count_transfers("harbour", STARTED_AT + 60_000_000) == TransferCounts(0, 1)
    assert await site.count_transfers("another", STARTED_AT) == TransferCounts()
    assert (
        await site.is_tenant_number("harbour", "+13072249663", ""),
        await site.is_tenant_number("another", "+13072249663", ""),
    ) == (True, False)
    env.calls.lifecycle.end_call(env.call_record, "transferred")
    assert await site.count_transfers("harbour", STARTED_AT) == TransferCounts(1, 0)
    await peer.disconnect()
