"""Transfers on a database: how many there are over all processes, and who may be named to be rung."""

import json

import pytest

from tests.integration.store.conftest import NOW
from tests.integration.store.history import HOUR, keep, made
from tests.integration.store.things import VAULT, tenant
from vocelio.gateway.errors import Invalid
from vocelio.gateway.model.directory import Transfers
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store import numbers
from vocelio.gateway.store.calls import transfer_counts
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.flows.drafts import Pause
from vocelio.gateway.store.numbers import NewNumber, NumberChange
from vocelio.gateway.store.routing.database import DatabaseSite
from vocelio.gateway.store.tenants import departments, tenants
from vocelio.gateway.store.tenants.tenants import TenantChange

US, OTHER_US, UK, JAMAICA = "+13072249663", "+13105550111", "+442079460123", "+18765550123"
FALLBACK = "+13105550199"


def paths(refused):
    return [problem.path for problem in refused.value.errors]


def begun(place, at, **parts):
    return made(place, started=at, events=[("transfer.started", at, {"department": "sales"})], **parts)


# The counts


async def test_transfers_are_counted_by_their_events_and_whether_their_calls_go_on(database):
    minute = 60_000_000
    going, over = {"ended": None, "outcome": ""}, {}
    await keep(
        database,
        begun(1, NOW - minute, **going),
        begun(2, NOW - minute, **over),
        begun(3, NOW - HOUR, **going),  # just within the hour
        begun(4, NOW - HOUR - 1, **going),
        begun(5, NOW - 7 * HOUR, **going),  # nobody talks so long: its call is lost
        begun(6, NOW - minute, **going | {"generation": 2}),  # nobody took it, and the flow goes on
        begun(7, NOW - minute, **going, tenant="museum"),
        made(8, started=NOW - minute, **going | {"department": "sales"}),
    )
    assert await transfer_counts.count(database, "harbour", NOW - HOUR, NOW) == Transfers(begun=4, under_way=3)
    assert await transfer_counts.count(database, "museum", NOW - HOUR, NOW) == Transfers(1, 1)
    assert await transfer_counts.count(database, "nobody", NOW - HOUR, NOW) == Transfers(0, 0)


async def test_the_site_answers_for_calls(database, actor):
    harbour = await tenant(database, actor)
    await numbers.create(database, harbour, NewNumber(US))
    await keep(database, begun(1, NOW, ended=None), known=["harbour"])
    site = DatabaseSite(database, VAULT, lambda: NOW)
    assert await site.transfers("harbour", NOW - HOUR) == Transfers(1, 1)
    assert (await site.owns("harbour", US), await site.owns("museum", US)) == (True, False)


async def test_the_count_takes_the_index(database):
    """However many events there are: a tenant's of that type, of the last hours only."""
    if not database.sqlite:
        return  # PostgreSQL reads tables that are empty as they are
    query = transfer_counts._counts("harbour", NOW - HOUR, NOW).compile(compile_kwargs={"literal_binds": True})
    async with database.reading() as connection:
        plan = str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")).all())
    assert "ix_call_events_tenant_id_type_at (tenant_id=? AND type=? AND at>?)" in plan
    assert "SCAN" not in plan


# What is saved


async def test_a_department_rings_only_whom_the_tenant_allows(database, actor):
    harbour = await tenant(database, actor)
    await departments.put(database, harbour, "early", Department((UK,)))  # it may have numbers there one day
    await numbers.create(database, harbour, NewNumber(US))
    wrong = Department((OTHER_US, UK, "+19005550123"), whisper="From {{ caller.nmber }}")
    with pytest.raises(Invalid) as refused:
        await departments.put(database, harbour, "sales", wrong)
    assert paths(refused) == ["numbers[1]", "numbers[2]", "whisper"]
    await tenants.change(database, harbour, "harbour", TenantChange(countries=("US", "GB")))
    await departments.put(database, harbour, "sales", Department((OTHER_US, UK)))


async def test_the_rules_of_a_tenant_are_checked_and_kept(database, actor):
    harbour = await tenant(database, actor)
    wrong = TenantChange(countries=("US", "XX"), destinations=("+1", "+1876"))
    with pytest.raises(Invalid) as refused:
        await tenants.change(database, harbour, "harbour", wrong)
    assert paths(refused) == ["countries[1]", "destinations[0]"]
    rules = {"countries": ("US",), "destinations": ("+1876555",), "sip_hosts": ("pbx.example.com",)}
    limits = {"max_transfers_per_hour": 10, "max_transfers_at_once": 0, "max_transfer_seconds": 60}
    await tenants.change(database, harbour, "harbour", TenantChange(**rules, **limits))
    kept = await tenants.show(database, "harbour")
    assert {name: getattr(kept, name) for name in (*rules, *limits)} == {**rules, **limits}


def ringing(**fields):
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
async def test_a_flow_that_rings_others_is_not_promoted(database, actor, fields, wrong):
    harbour = await tenant(database, actor)
    await departments.put(database, harbour, "old", Department((UK,)))
    await numbers.create(database, harbour, NewNumber(US))
    await drafts.put(database, harbour, "ring", ringing(**fields), None)
    checked = await promotion.check(database, "harbour", "ring")
    assert ([problem.path for problem in checked.problems], checked.promotable) == (wrong, not wrong)
    if wrong:
        with pytest.raises(Invalid) as refused:
            await promotion.promote(database, harbour, "ring", "")
        assert paths(refused) == wrong
    else:
        await promotion.promote(database, harbour, "ring", "")


async def test_a_pause_and_a_fallback_lead_only_where_calls_may_go(database, actor):
    harbour = await tenant(database, actor)
    with pytest.raises(Invalid) as refused:
        await numbers.create(database, harbour, NewNumber(US, fallback=JAMAICA))
    assert paths(refused) == ["fallback"]
    await numbers.create(database, harbour, NewNumber(US, fallback=FALLBACK))
    with pytest.raises(Invalid) as refused:
        await numbers.change(database, harbour, US, NumberChange(fallback="+881612345678"))
    assert paths(refused) == ["fallback"]
    await drafts.put(database, harbour, "ring", ringing(number=OTHER_US), None)
    await promotion.promote(database, harbour, "ring", "")
    with pytest.raises(Invalid) as refused:
        await drafts.pause(database, harbour, "ring", Pause(forward=JAMAICA))
    assert paths(refused) == ["forward"]
    await drafts.pause(database, harbour, "ring", Pause(forward=FALLBACK))


async def test_stricter_rules_count_for_what_was_saved_before(database, actor):
    harbour = await tenant(database, actor)
    await tenants.change(database, harbour, "harbour", TenantChange(countries=("US", "JM"), max_transfer_seconds=90))
    await numbers.create(database, harbour, NewNumber(US, fallback=JAMAICA))
    site = DatabaseSite(database, VAULT, lambda: NOW)
    before = await site.assignment(US)
    assert (before.outcome, before.forward, before.longest) == ("unassigned", JAMAICA, 90)
    await tenants.change(database, harbour, "harbour", TenantChange(countries=()))
    after = await site.assignment(US)
    assert (after.outcome, after.forward) == ("unassigned", ""), "the caller hears the apology instead"
    await numbers.change(database, harbour, US, NumberChange(label="A label can still be changed"))
