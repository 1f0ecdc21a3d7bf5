"""Lease queue: one worker at a time has a row, until it is done or its lease ends."""

import asyncio

import pytest
from sqlalchemy import select

from tests.support.tenant_fixtures import create_tenant
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.schema import prompts
from vocelio.gateway.store.leases import Lease, LeaseQueue
from vocelio.gateway.store.render_queue import PromptRef

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
KEYS = [letter * 64 for letter in "abc"]
QUEUE = LeaseQueue(prompts, "id")


@pytest.fixture
async def queued_rows(database, make_actor):
    """Three due rows of one tenant, due in the order of their keys."""
    await create_tenant(database, make_actor)
    await render_queue.enqueue(database, "harbour", [PromptRef(key, key, Voice()) for key in KEYS], NOW)
    return database


async def lease(database, owner="first", now=NOW, limit=1, seconds=60):
    rows = await QUEUE.lease_due(database, owner, now, now + seconds * SECOND, limit)
    return [Lease(row.tenant_id, row.id, row.lease_owner) for row in rows]


async def get_row(database, key=KEYS[0]):
    async with database.read() as connection:
        return (await connection.execute(select(prompts).where(prompts.c.id == key))).one()


async def test_rows_are_leased_in_the_order_in_which_they_are_due(queued_rows):
    assert [each.key for each in await lease(queued_rows, limit=2)] == KEYS[:2]
    assert [each.key for each in await lease(queued_rows, "second", limit=2)] == KEYS[2:]
    assert await lease(queued_rows, "third") == []


async def test_row_that_is_not_due_is_not_leased(queued_rows):
    assert await lease(queued_rows, now=NOW - SECOND) == []


async def test_concurrent_workers_lease_different_rows(queued_rows):
    leases = await asyncio.gather(*(lease(queued_rows, f"worker {n}") for n in range(3)))
    keys = [each.key for leased in leases for each in leased]
    assert len(keys) == len(set(keys))


async def test_expired_lease_is_taken_over_and_its_former_owner_changes_nothing(queued_rows):
    (expired,) = await lease(queued_rows)
    later = NOW + 60 * SECOND
    assert expired.key not in [each.key for each in await lease(queued_rows, "second", later - 1, limit=3)]
    (current,) = await lease(queued_rows, "third", later)
    assert current == Lease("harbour", expired.key, "third")
    assert not await QUEUE.finish(queued_rows, expired, state="ready")
    assert not await QUEUE.extend(queued_rows, expired, later + SECOND)
    assert not await QUEUE.fail(
        queued_rows, expired, error="late", failed_attempts=1, now=later, backoff=Backoff(1, 1), state="failed"
    )
    assert not await QUEUE.delete(queued_rows, expired)
    await QUEUE.release(queued_rows, expired)
    await QUEUE.release_all(queued_rows, "first")
    row = await get_row(queued_rows)
    assert (row.state, row.error, row.lease_owner) == ("pending", "", "third")


async def test_extended_lease_lasts_longer(queued_rows):
    (extended,) = await lease(queued_rows)
    assert await QUEUE.extend(queued_rows, extended, NOW + 90 * SECOND)
    assert extended.key not in [each.key for each in await lease(queued_rows, "second", NOW + 89 * SECOND, limit=3)]
    assert [each.key for each in await lease(queued_rows, "third", NOW + 90 * SECOND)] == [extended.key]


async def test_finished_row_is_not_leased_again(queued_rows):
    (done,) = await lease(queued_rows)
    assert await QUEUE.finish(queued_rows, done, state="ready", due_at=None)
    row = await get_row(queued_rows)
    assert (row.state, row.lease_owner, row.lease_until) == ("ready", None, None)
    assert done.key not in [each.key for each in await lease(queued_rows, "second", NOW + 3_600 * SECOND, limit=3)]


async def test_condition_that_does_not_hold_only_ends_the_lease(queued_rows):
    (leased,) = await lease(queued_rows)
    assert not await QUEUE.finish(queued_rows, leased, prompts.c.characters == 0, state="ready")
    row = await get_row(queued_rows)
    assert (row.state, row.lease_owner) == ("pending", None)
    (leased,) = await lease(queued_rows)
    assert not await QUEUE.delete(queued_rows, leased, prompts.c.characters == 0)
    assert (await get_row(queued_rows)).lease_owner is None


async def test_failed_row_is_due_after_its_backoff(queued_rows):
    (leased,) = await lease(queued_rows)
    backoff = Backoff(10, 100)
    failure = {"error": "no answer", "now": NOW, "backoff": backoff}
    assert await QUEUE.fail(queued_rows, leased, **failure, failed_attempts=3, state="failed")
    row = await get_row(queued_rows)
    assert (row.error, row.failed_attempts, row.due_at - NOW) == ("no answer", 3, 40 * SECOND)
    assert row.lease_owner is None
    (leased,) = [each for each in await lease(queued_rows, now=NOW + 40 * SECOND, limit=3) if each.key == KEYS[0]]
    await QUEUE.fail(queued_rows, leased, **failure, failed_attempts=1, min_delay_seconds=90, state="failed")
    assert (await get_row(queued_rows)).due_at - NOW == 90 * SECOND


async def test_released_rows_are_available_at_once(queued_rows):
    first, _ = await lease(queued_rows, limit=2)
    await QUEUE.release(queued_rows, first)
    assert [each.key for each in await lease(queued_rows, "second", limit=1)] == KEYS[:1]
    await QUEUE.release_all(queued_rows, "first")
    assert [each.key for each in await lease(queued_rows, "third", limit=3)] == KEYS[1:]


async def test_released_row_may_be_due_later(queued_rows):
    (leased,) = await lease(queued_rows)
    await QUEUE.release(queued_rows, leased, due_at=NOW + SECOND)
    assert leased.key not in [each.key for each in await lease(queued_rows, "second", limit=3)]


async def test_deleted_row_is_gone(queued_rows):
    (leased,) = await lease(queued_rows)
    assert await QUEUE.delete(queued_rows, leased)
    assert not await QUEUE.finish(queued_rows, leased, state="ready")
