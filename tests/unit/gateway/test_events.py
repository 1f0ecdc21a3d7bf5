"""Publishing never waits; who does not keep up is told so."""

import asyncio

from vocelio.gateway.events import WATCHER_BACKLOG, Event, EventBus


def event(seq, tenant="a"):
    return Event(tenant=tenant, call="CA1", generation=1, seq=seq, type="note", at=0)


async def test_a_watcher_sees_its_tenants_events_in_order():
    bus = EventBus()
    async with bus.watch("a") as watcher:
        waiting = asyncio.create_task(watcher.get())
        await asyncio.sleep(0)
        bus.publish(event(1, "b"))
        bus.publish(event(2))
        bus.publish(event(3))
        assert (await waiting).seq == 2
        assert (await watcher.get()).seq == 3
    bus.publish(event(4))


async def test_a_slow_watcher_loses_the_oldest_and_knows_how_many():
    bus = EventBus()
    async with bus.watch("a") as watcher:
        for seq in range(WATCHER_BACKLOG + 5):
            bus.publish(event(seq))
        assert (await watcher.get()).seq == 5
        assert watcher.missed == 5


async def test_an_event_has_an_id_of_its_own():
    assert event(7).id == "CA1-1-7"
