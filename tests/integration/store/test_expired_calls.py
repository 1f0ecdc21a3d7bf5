"""Expired calls: those whose state no key decrypts neither live for ever nor hide the others."""

import pytest
from sqlalchemy import update

from tests.integration.conftest import NOW
from tests.integration.store.test_write_behind import create_tenant, make_call
from tests.support.tenant_fixtures import CIPHER
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.store.calls.interface import Segment
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.db.schema import calls

LATER = NOW + 3_600_000_000
UNREADABLE = 450  # more than two pages of a sweep
LIMIT = 200


@pytest.fixture
async def stores(database):
    """A store with a key that was lost, and one with the present key."""
    await create_tenant(database)
    opened = [WriteBehindCallStore(database, cipher) for cipher in (SecretCipher(["the lost key"]), CIPHER)]
    for store in opened:
        await store.start()
    yield opened
    for store in opened:
        await store.aclose()


async def save_all(store, saved):
    for call in saved:
        store.save(call)
    await store.find(saved[-1].id, saved[-1].account_sid)  # waits until it is written


def expiring_call(number, due_at, **parts):
    return make_call(number, due_at=due_at, resume_state=b'{"what": "the caller said"}', **parts)


async def test_unreadable_calls_do_not_hide_readable_ones(stores, caplog):
    lost_key, store = stores
    await save_all(lost_key, [expiring_call(number, NOW + number) for number in range(UNREADABLE)])
    await save_all(store, [expiring_call(1_000, NOW + 1_000)])
    for _ in range(3):
        expired = await store.find_expired(LATER, LIMIT, unreadable_before=NOW)
        assert [(call.id, call.is_readable) for call in expired] == [(make_call(1_000).id, True)]
    assert caplog.messages == []


async def test_unreadable_calls_are_found_after_their_grace_period(stores):
    lost_key, store = stores
    await save_all(lost_key, [expiring_call(number, NOW + number) for number in range(UNREADABLE)])
    expired = await store.find_expired(LATER, LIMIT, unreadable_before=NOW + 5)
    assert [call.id for call in expired] == [make_call(number).id for number in range(5)]
    assert not any(call.is_readable or call.resume_state for call in expired)
    assert len(await store.find_expired(LATER, LIMIT, unreadable_before=LATER)) == LIMIT


async def test_calls_with_the_same_due_time_are_all_found(stores):
    lost_key, store = stores
    await save_all(lost_key, [expiring_call(number, NOW) for number in range(UNREADABLE)])
    await save_all(store, [expiring_call(1_000 + number, NOW) for number in range(LIMIT + 50)])
    assert len(await store.find_expired(LATER, LIMIT, unreadable_before=NOW)) == LIMIT


async def test_unreadable_call_is_closed_once_with_its_bill_and_keeps_its_state_for_another_process(stores):
    lost_key, store = stores
    segments = (Segment("azure", 60_000_000, 80_000, 80_000),)
    await save_all(lost_key, [expiring_call(1, NOW, segments=segments)])
    (found,) = await store.find_expired(LATER, LIMIT, unreadable_before=LATER)
    ended = await store.close(found, LATER, "lost")
    assert (ended.segments, ended.outcome) == (segments, "lost")
    assert await store.close(found, LATER, "lost") is None
    assert await store.find_expired(LATER, LIMIT, unreadable_before=LATER) == []
    with_key = await lost_key.find(found.id, found.account_sid)
    assert with_key.resume_state == b'{"what": "the caller said"}'
    assert not with_key.is_over


async def test_call_whose_id_was_damaged_is_found_and_closed(stores, database):
    """As a call with NUL in its SID, which earlier releases accepted and could not decrypt again."""
    store = stores[1]
    await save_all(store, [expiring_call(1, NOW), expiring_call(2, NOW + 1)])
    damaged = "CA\x01" if not database.is_sqlite else "CA\x001"
    async with database.transaction() as connection:
        await connection.execute(update(calls).where(calls.c.id == make_call(1).id).values(id=damaged))
    found = await store.find_expired(LATER, LIMIT, unreadable_before=LATER)
    assert [call.is_readable for call in found] == [False, True]
    assert await store.close(found[0], LATER, "lost") is not None
    assert [call.id for call in await store.find_expired(LATER, LIMIT, unreadable_before=LATER)] == [make_call(2).id]
