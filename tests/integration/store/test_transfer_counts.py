"""Transfers on a database: counts over all processes, and the dial rules that apply when targets are saved."""

import json

import pytest

from tests.integration.conftest import NOW
from tests.support.generated_calls import HOUR, insert_calls, make_call
from tests.support.tenant_fixtures import CIPHER, create_tenant
from vocelio.gateway.errors import InvalidInput
from vocelio.gateway.model.directory import TransferCounts
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store import numbers
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.flows.drafts import PauseSettings
from vocelio.gateway.store.numbers import NewNumber, NumberUpdate
from vocelio.gateway.store.tenants import departments, tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

US, OTHER_US, UK, JAMAICA = "+13072249663", "+13105550111", "+442079460123", "+18765550123"
FALLBACK = "+13105550199"


def diagnostic_paths(refused):
    return [problem.path for problem in refused.value.errors]


def transfer_event(place, at, **parts):
    return make_call(place, started_at=at, events=[("transfer.started", at, {"department": "sales"})], **parts)


# Counts


async def test_transfers_are_counted_by_event_and_active_while_their_call_is_live(database):
    minute = 60_000_000
    live_call, ended = {"ended_at": None, "outcome": ""}, {}
    await insert_calls(
        database,
        transfer_event(1, NOW - minute, **live_call),
        transfer_event(2, NOW - minute, **ended),
        transfer_event(3, NOW - HOUR, **live_call),  # just within the hour
        transfer_event(4, NOW - HOUR - 1, **live_call),
        transfer_event(5, NOW - 7 * HOUR, **live_call),  # no call lasts so long: it counts as lost
        transfer_event(
            6, NOW - minute, **live_call | {"generation": 2}
        ),  # not answered, and the flow continued on a later stream
        transfer_event(7, NOW - minute, **live_call, tenant="museum"),
        make_call(8, started_at=NOW - minute, **live_call | {"department": "sales"}),
    )
    assert await live.count_transfers(database, "harbour", NOW - HOUR, NOW) == TransferCounts(started=4, active=3)
    assert await live.count_transfers(database, "museum", NOW - HOUR, NOW) == TransferCounts(1, 1)
    assert await live.count_transfers(database, "nobody", NOW - HOUR, NOW) == TransferCounts(0, 0)


async def test_directory_counts_transfers_and_knows_the_tenants_numbers(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await numbers.create_number(database, harbour, NewNumber(US))
    await insert_calls(database, transfer_event(1, NOW, ended_at=None), known=["harbour"])
    directory = DatabaseDirectory(database, CIPHER, lambda: NOW)
    assert await directory.count_transfers("harbour", NOW - HOUR) == TransferCounts(1, 1)
    assert await directory.is_tenant_number("harbour", US, "")
    assert not await directory.is_tenant_number("museum", US, "")
    assert not await directory.is_tenant_number("harbour", US, "AC" + "1" * 32), "it is not that account's"


async def test_transfer_count_uses_the_index(database):
    """However many events there are, only the tenant's of that type and of the last hours are read."""
    if not database.is_sqlite:
        return  # PostgreSQL reads tables that are empty as they are
    query = live._count_query("harbour", NOW - HOUR, NOW).compile(compile_kwargs={"literal_binds": True})
    async with database.read() as connection:
        plan = str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")).all())
    assert "ix_call_events_tenant_id_type_occurred_at (tenant_id=? AND type=? AND occurred_at>?)" in plan
    assert "SCAN" not in plan


# Dial rules of saved resources


async def test_department_with_disallowed_numbers_is_rejected(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await departments.put_department(
        database, harbour, "early", Department((UK,))
    )  # before the tenant has a number, any country is allowed
    await numbers.create_number(database, harbour, NewNumber(US))
    wrong = Department((OTHER_US, UK, "+19005550123"), whisper="From {{ caller.nmber }}")
    with pytest.raises(InvalidInput) as refused:
        await departments.put_department(database, harbour, "sales", wrong)
    assert diagnostic_paths(refused) == ["numbers[1]", "numbers[2]", "whisper"]
    await tenants.update_tenant(database, harbour, "harbour", TenantUpdate(allowed_countries=("US", "GB")))
    await departments.put_department(database, harbour, "sales", Department((OTHER_US, UK)))


async def test_dial_rules_are_validated_and_stored(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    wrong = TenantUpdate(allowed_countries=("US", "XX"), allowed_prefixes=("+1", "+1876"))
    with pytest.raises(InvalidInput) as refused:
        await tenants.update_tenant(database, harbour, "harbour", wrong)
    assert diagnostic_paths(refused) == ["allowed_countries[1]", "allowed_prefixes[0]"]
    rules = {"allowed_countries": ("US",), "allowed_prefixes": ("+1876555",), "allowed_sip_hosts": ("pbx.example.com",)}
    limits = {"max_transfers_per_hour": 10, "max_concurrent_transfers": 0, "max_transfer_seconds": 60}
    await tenants.update_tenant(database, harbour, "harbour", TenantUpdate(**rules, **limits))
    stored = await tenants.get_tenant(database, "harbour")
    assert {name: getattr(stored, name) for name in (*rules, *limits)} == {**rules, **limits}


def transfer_rows(**fields):
    node = {"type": "transfer", **fields}
    return json.dumps({"name": "F", "start": "ring", "nodes": {"ring": node}}).encode()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"number": OTHER_US}, []),
        ({"number": OTHER_US, "caller_id": US}, []),
        ({"number": OTHER_US, "caller_id": UK}, ["nodes.ring.caller_id"]),
        ({"number": JAMAICA}, ["nodes.ring.number"]),
        ({"sip": "sip:desk@pbx.example.com"}, ["nodes.ring.sip"]),
        ({"department": "old"}, ["nodes.ring.department"]),
        ({"number": JAMAICA, "department": "nobody"}, ["nodes.ring", "nodes.ring.department", "nodes.ring.number"]),
    ],
)
async def test_flow_with_disallowed_targets_is_not_promoted(database, make_actor, fields, wrong):
    harbour = await create_tenant(database, make_actor)
    await departments.put_department(database, harbour, "old", Department((UK,)))
    await numbers.create_number(database, harbour, NewNumber(US))
    await drafts.put_flow(database, harbour, "ring", transfer_rows(**fields), None)
    checked = await promotion.validate_draft(database, "harbour", "ring")
    assert ([problem.path for problem in checked.diagnostics], checked.promotable) == (wrong, not wrong)
    if wrong:
        with pytest.raises(InvalidInput) as refused:
            await promotion.promote_flow(database, harbour, "ring", "")
        assert diagnostic_paths(refused) == wrong
    else:
        await promotion.promote_flow(database, harbour, "ring", "")


async def test_pause_and_fallback_numbers_must_be_allowed(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    with pytest.raises(InvalidInput) as refused:
        await numbers.create_number(database, harbour, NewNumber(US, fallback_number=JAMAICA))
    assert diagnostic_paths(refused) == ["fallback_number"]
    await numbers.create_number(database, harbour, NewNumber(US, fallback_number=FALLBACK))
    with pytest.raises(InvalidInput) as refused:
        await numbers.update_number(database, harbour, US, NumberUpdate(fallback_number="+881612345678"))
    assert diagnostic_paths(refused) == ["fallback_number"]
    await drafts.put_flow(database, harbour, "ring", transfer_rows(number=OTHER_US), None)
    await promotion.promote_flow(database, harbour, "ring", "")
    with pytest.raises(InvalidInput) as refused:
        await drafts.pause_flow(database, harbour, "ring", PauseSettings(forward_to=JAMAICA))
    assert diagnostic_paths(refused) == ["forward_to"]
    await drafts.pause_flow(database, harbour, "ring", PauseSettings(forward_to=FALLBACK))


async def test_stricter_dial_rules_apply_to_saved_numbers(database, make_actor):
    harbour = await create_tenant(database, make_actor)
    await tenants.update_tenant(
        database, harbour, "harbour", TenantUpdate(allowed_countries=("US", "JM"), max_transfer_seconds=90)
    )
    await numbers.create_number(database, harbour, NewNumber(US, fallback_number=JAMAICA))
    directory = DatabaseDirectory(database, CIPHER, lambda: NOW)
    before = await directory.get_call_config(US)
    assert (before.outcome, before.forward_to, before.max_transfer_seconds) == ("unassigned", JAMAICA, 90)
    await tenants.update_tenant(database, harbour, "harbour", TenantUpdate(allowed_countries=()))
    after = await directory.get_call_config(US)
    assert (after.outcome, after.forward_to) == ("unassigned", ""), "the caller hears the error message instead"
    await numbers.update_number(database, harbour, US, NumberUpdate(label="A label can still be changed"))
