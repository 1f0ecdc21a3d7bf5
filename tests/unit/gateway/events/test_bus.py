"""The event bus: publishing never waits, and slow subscriptions count their losses."""

import asyncio

from vocelio.gateway.events import MAX_BACKLOG_EVENTS, Event, EventBus


def make_event(sequence, tenant="a"):
    return Event(tenant=tenant, call="CA1", generation=1, sequence=sequence, type="note", occurred_at=0)


async def test_subscription_gets_its_tenants_events_in_order():
    bus = EventBus()
    async with bus.subscribe("a") as subscription:
        waiting = asyncio.create_task(subscription.get())
        await asyncio.sleep(0)
        bus.publish(make_event(1, "b"))
        bus.publish(make_event(2))
        bus.publish(make_event(3))
        assert (await waiting).sequence == 2
        assert (await subscription.get()).sequence == 3
    bus.publish(make_event(4))


async def test_slow_subscription_drops_and_counts_the_oldest_events():
    bus = EventBus()
    async with bus.subscribe("a") as subscription:
        for sequence in range(MAX_BACKLOG_EVENTS + 5):
            bus.publish(make_event(sequence))
        assert (await subscription.get()).sequence == 5
        assert subscription.dropped == 5


async def test_event_id_is_unique():
    assert make_event(7).id == "CA1-1-7"
