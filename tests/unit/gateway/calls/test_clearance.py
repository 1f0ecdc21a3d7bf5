"""Whether a transfer may begin: decided while the caller is on the line, and never twice a second."""

import logging

import pytest

from tests.unit.gateway.calls.peer import CALL, START, TENANT, Peer, World
from tests.virtual_time import in_virtual_time
from vocelio.engine.actions import Transfer
from vocelio.engine.hours import OpeningHours
from vocelio.gateway.dialing.plan import Refusal
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Transfers
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.store.in_memory import MemorySite


def flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


def ring(exits=("busy", "no_answer", "failed"), **target):
    """A transfer, and a text for each way that it can end."""
    texts = {name: {"type": "hangup", "text": f"It was {name}."} for name in exits}
    return flow(ring={"type": "transfer", **target, "exits": {name: name for name in exits}}, **texts)


def tenant(**settings):
    return Tenant(id=TENANT.id, name=TENANT.name, **settings)


def started(world):
    return Peer(world, world.token())


def texts(world):
    return [event["text"] for event in world.of("prompt.started")]


class Busy(MemorySite):
    """A site that has so many transfers."""

    there, asked_at = Transfers(), 0

    async def transfers(self, tenant, since):
        assert since == START - 3_600_000_000 + self.asked_at
        return self.there


class Away(MemorySite):
    """A site whose transfers cannot be counted for so many seconds."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.left = 3

    async def transfers(self, tenant, since):
        if self.left:
            self.left -= 1
            raise StoreUnavailable
        return Transfers()


class Gone(Away):
    async def transfers(self, tenant, since):
        raise StoreUnavailable


CLOSED = OpeningHours("UTC", {"sun": (("00:00", "00:01"),)})  # START is on a Tuesday
REFUSED = [
    ({"department": "night"}, {}, "closed", "It was no_answer."),
    ({"number": "+19005550123"}, {}, "costly", "It was failed."),
    ({"number": "+18765550123"}, {}, "country", "It was failed."),
    ({"sip": "sip:a@pbx.example.com"}, {}, "sip", "It was failed."),
    ({"department": "sales"}, {"max_transfers_per_hour": 0}, "limit", "It was busy."),
    ({"department": "sales"}, {"max_transfers_at_once": 0}, "limit", "It was busy."),
]


@pytest.mark.parametrize(("target", "settings", "reason", "text"), REFUSED, ids=[row[2] for row in REFUSED])
def test_a_refused_caller_keeps_the_stream_and_goes_on_in_the_flow(target, settings, reason, text):
    @in_virtual_time
    async def call():
        departments = {"night": Department(("+13105550111",), hours=CLOSED), "sales": Department(("+13105550111",))}
        world = World(ring(**target), tenant=tenant(**settings), departments=departments)
        peer = started(world)
        await peer.run(5)
        shown = {"department": target.get("department", ""), "number": target.get("number", "")}
        assert world.of("transfer.refused") == [{**shown, "reason": reason}]
        assert world.of("transfer.started") == []
        assert (texts(world), world.record.generation, world.record.department) == ([text], 1, "")
        assert peer.code == 1000
        await peer.gone()

    call()


@in_virtual_time
async def test_a_flow_that_tries_again_at_once_goes_round_slowly():
    again = flow(ring={"type": "transfer", "number": "+19005550123", "exits": {"failed": "ring"}})
    world = World(again)
    peer = started(world)
    await peer.run(5.5)
    assert len(world.of("transfer.refused")) == 8
    peer.numbered("stop", stop={})
    await peer.gone()


@in_virtual_time
async def test_what_is_not_done_as_asked_is_told():
    departments = {"sales": Department(("+18765550123", "+13105550111"))}
    world = World(ring(department="sales", caller_id="+13105550199"), departments=departments)
    peer = started(world)
    await peer.run(2)
    common = {"department": "sales", "number": ""}
    assert world.of("transfer.changed") == [
        {**common, "part": "number", "value": "+18765550123", "reason": "country"},
        {**common, "part": "caller_id", "value": "+13105550199", "reason": "foreign"},
    ]
    assert world.record.intent.caller_id == "+13105550142", "the caller's own"
    await peer.gone()


@in_virtual_time
async def test_an_operators_transfer_is_asked_about_too():
    world = World(
        flow(wait={"type": "wait", "seconds": 60, "exits": {}}),
        departments={"night": Department(("+13105550111",), hours=CLOSED)},
    )
    peer = started(world)
    await peer.run(1)
    assert (await world.calls.dispatch.command("harbour", CALL, "transfer", "night")).verdict == "accepted"
    await peer.run(1)
    assert [event["reason"] for event in world.of("transfer.refused")] == ["closed"]
    assert peer.code is None, "the caller is where they were"
    peer.numbered("stop", stop={})
    await peer.gone()


@in_virtual_time
async def test_a_store_that_is_away_for_a_moment_is_waited_for():
    world = World(ring(department="sales"), site=Away)
    peer = started(world)
    await peer.run(6)
    assert (peer.code, world.record.department) == (1000, "sales")
    assert texts(world) == ["One moment, please."]
    await peer.gone()


@in_virtual_time
async def test_what_cannot_be_counted_is_not_allowed():
    world = World(ring(department="sales"), site=Gone)
    peer = started(world)
    await peer.run(14)
    assert texts(world) == ["One moment, please."] * 3 + ["It was failed."]
    assert world.of("store.unavailable") == [{"seconds": 10.0}]
    assert world.of("transfer.started") == []
    await peer.gone()


@in_virtual_time
async def test_who_hangs_up_meanwhile_is_not_transferred():
    world = World(ring(department="sales"), site=Gone)
    peer = started(world)
    await peer.run(2)
    peer.numbered("stop", stop={})
    await peer.gone()
    assert [event["outcome"] for event in world.of("call.ended")] == ["abandoned"]


@in_virtual_time
async def test_the_limits_and_what_the_log_says_of_them():
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("vocelio.gateway.dialing.authorization").addHandler(handler)
    world = World(ring(department="sales"), site=Busy, tenant=tenant(max_transfers_per_hour=5, max_transfers_at_once=3))
    clearance, transfer = world.calls.clearance, Transfer("t1", department="sales")

    async def refused(begun, under_way, at):
        world.set_clock(at - world.clock_set_by)
        Busy.there, Busy.asked_at = Transfers(begun, under_way), at * 1_000_000
        return await clearance.decide(world.assignment, transfer, "") == Refusal("limit")

    assert [await refused(4, 2, 0), await refused(5, 0, 1), await refused(0, 3, 59)] == [False, True, True]
    assert len(told) == 1
    assert await refused(9, 9, 61)
    assert told == [
        "harbour is at its limit of transfers: 5 within an hour, 0 at once",
        "harbour is at its limit of transfers: 9 within an hour, 9 at once",
    ]
    logging.getLogger("vocelio.gateway.dialing.authorization").removeHandler(handler)
    await world.calls.aclose()


@in_virtual_time
async def test_transfers_in_memory_are_counted_by_the_journal():
    world = World(ring(department="sales"))
    peer = started(world)
    await peer.run(2)
    site = world.calls.services.site
    assert await site.transfers("harbour", START) == Transfers(1, 1)
    assert await site.transfers("harbour", START + 60_000_000) == Transfers(0, 1)
    assert await site.transfers("another", START) == Transfers()
    assert (await site.owns("harbour", "+13072249663"), await site.owns("another", "+13072249663")) == (True, False)
    world.calls.end(world.record, "transferred")
    assert await site.transfers("harbour", START) == Transfers(1, 0)
    await peer.gone()
