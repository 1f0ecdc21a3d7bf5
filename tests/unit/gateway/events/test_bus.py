"""Publishing never waits; who does not keep up is told so."""

import asyncio

from vocelio.gateway.events import MAX_BACKLOG_EVENTS, Event, EventBus


def make_event(sequence, tenant="a"):
    return Event(tenant=tenant, call="CA1", generation=1, sequence=sequence, type="note", occurred_at=0)


async def test_a_watcher_sees_its_tenants_events_in_order():
    bus = EventBus()
    async with bus.subscribe("a") as watcher:
        waiting = asyncio.create_task(watcher.get())
        await asyncio.sleep(0)
        bus.publish(make_event(1, "b"))
        bus.publish(make_event(2))
        bus.publish(make_event(3))
        assert (await waiting).sequence == 2
        assert (await watcher.get()).sequence == 3
    bus.publish(make_event(4))


async def test_a_slow_watcher_loses_the_oldest_and_knows_how_many():
    bus = EventBus()
    async with bus.subscribe("a") as watcher:
        for sequence in range(MAX_BACKLOG_EVENTS + 5):
            bus.publish(make_event(sequence))
        assert (await watcher.get()).sequence == 5
        assert watcher.dropped == 5


async def test_an_event_has_an_id_of_its_own():
    assert make_event(7).id == "CA1-1-7"
