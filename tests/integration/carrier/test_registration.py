"""Numbers set at Twilio: as they are assigned, whatever goes wrong meanwhile, by whichever process."""

import asyncio
from contextlib import suppress

import pytest

from tests.integration.carrier.conftest import ACCOUNT, NUMBER, TOKEN
from tests.integration.carrier.office import BEFORE, OURS, PUBLIC_URL, Office
from tests.integration.store.conftest import actor  # noqa: F401 (a fixture)
from tests.integration.store.things import VAULT
from vocelio.gateway.config import SIMULATOR_ACCOUNT
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.simulator.rest_api.server import Trouble
from vocelio.gateway.store import numbers
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import Account
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.worker import LEASE_SECONDS, LONGEST_PAUSE, backoff

OTHER = "AC" + "6" * 32


@pytest.fixture
async def office(database, twilio, actor):  # noqa: F811
    """One tenant, one number, and what that was set to before."""
    office = Office(database, twilio, actor)
    await office.open()
    office.account.add(NUMBER, **BEFORE)
    yield office
    for desk in office.desks:
        await desk.rest.aclose()


async def test_assigned_it_is_set_and_unassigned_it_is_set_back(office):
    registrar = office.registrar()
    await office.assign()
    assert (await office.row()).state == "pending"
    assert office.there() == BEFORE
    assert await registrar.run_due() == 1
    assert office.there() == OURS
    assert (await office.row()).state == "registered"
    await office.unassign()
    assert office.there() == OURS
    await registrar.run_due()
    assert office.there() == BEFORE
    assert await office.row() is None
    assert office.told() == ["number.registered", "number.restored"]
    assert {event.tenant for event in office.bus.events} == {"harbour"}
    assert [len(one.form) for one in office.twilio.requests("POST")] == [6, 6]
    assert await registrar.run_due() == 0


async def test_what_was_changed_before_it_was_done_is_not_done(office):
    registrar = office.registrar()
    await office.assign()
    await office.unassign()
    assert await registrar.run_due() == 0
    assert office.twilio.seen == []


async def test_another_flow_is_nothing_to_twilio(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    await office.assign()
    assert await registrar.run_due() == 0


async def test_removed_before_it_is_set_back_it_is_set_back_all_the_same(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    await office.unassign()
    await numbers.remove(office.database, office.by(), NUMBER)
    assert (await office.row()).wanted is False
    await registrar.run_due()
    assert office.there() == BEFORE
    assert await office.row() is None


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (Trouble(401), "refuses the account's credentials"),
        (Trouble(404), "not found"),
        (Trouble(429), "Too Many Requests"),
        (Trouble(500), "Internal Server Error"),
        (Trouble(), "does not answer"),
        (Trouble(seconds=3, slow=True), "too long"),
    ],
    ids=["401", "404", "429", "500", "dropped", "slow"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_trouble_is_told_and_it_is_tried_again(office, trouble, told, method):
    registrar = office.registrar()
    office.twilio.trouble(trouble, times=2 if trouble.slow else 100, method=method)
    await office.assign()
    await registrar.run_due()
    row = await office.row()
    assert (row.state, row.attempts, row.due) == ("failed", 1, office.now + 5_000_000)
    assert told in row.problem
    assert office.there() in (BEFORE, OURS)  # OURS: a slow answer came too late
    assert await registrar.run_due() == 0
    office.twilio.at_peace()
    office.later(5)
    await registrar.run_due()
    assert (await office.row()).state == "registered"
    assert office.there() == OURS
    await office.unassign()
    await registrar.run_due()
    assert office.there() == BEFORE
    assert office.told() == ["number.registration_failed", "number.registered", "number.restored"]


async def test_it_is_tried_for_ever_but_ever_more_seldom_and_told_once(office):
    registrar = office.registrar()
    office.twilio.trouble(Trouble(401), times=1_000)
    await office.assign()
    for attempt in range(1, 13):
        assert await registrar.run_due() == 1
        row = await office.row()
        assert (row.attempts, row.due - office.now) == (attempt, backoff(attempt) * 1_000_000)
        office.later(backoff(attempt))
    assert backoff(12) == backoff(100_000) == LONGEST_PAUSE
    assert office.told() == ["number.registration_failed"]


async def test_twilio_says_how_long_to_leave_it_alone(office):
    registrar = office.registrar()
    office.twilio.trouble(Trouble(429, retry_after=90))
    await office.assign()
    await registrar.run_due()
    assert (await office.row()).due == office.now + 90_000_000


async def test_a_number_that_the_account_does_not_have(office):
    registrar = office.registrar()
    office.account.remove(NUMBER)
    await office.assign()
    await registrar.run_due()
    row = await office.row()
    assert row.state == "failed"
    assert NUMBER in row.problem
    assert ACCOUNT in row.problem
    office.account.add(NUMBER)
    office.later(5)
    await registrar.run_due()
    assert (await office.row()).state == "registered"


@pytest.mark.parametrize("override", [{"voice_application_sid": "AP" + "1" * 32}, {"trunk_sid": "TK" + "2" * 32}])
async def test_what_answers_in_place_of_the_webhooks_is_told_and_left_alone(office, override):
    registrar = office.registrar()
    office.account.number(NUMBER).update(override)
    await office.assign()
    await registrar.run_due()
    row = await office.row()
    assert row.state == "overridden"
    assert next(iter(override.values())) in row.problem
    assert office.there() == BEFORE
    assert office.twilio.requests("POST") == []
    office.account.number(NUMBER).update(dict.fromkeys(override, ""))
    office.later(5)
    await registrar.run_due()
    assert (await office.row()).state == "registered"


async def test_without_an_account_nothing_is_set_until_there_is_one(office):
    registrar = office.registrar({SIMULATOR_ACCOUNT: "anything"})
    await office.assign()
    await registrar.run_due()
    row = await office.row()
    assert (row.state, row.due) == ("not_managed", None)
    assert "TWILIO_ACCOUNT_SID" in row.problem
    assert (office.twilio.seen, office.told()) == ([], [])
    await office.unassign()
    assert await office.row() is None
    await office.assign()
    await registrar.run_due()
    with_one = office.registrar()
    await with_one.start()
    await _until(lambda: office.there() == OURS)
    await with_one.aclose()


async def test_a_tenants_own_account_comes_first(office):
    own = office.twilio.account(OTHER, "a token of its own")
    own.add(NUMBER)
    registrar = office.registrar()
    await tenants.set_account(office.database, VAULT, office.by(), Account(OTHER, "a_token_of_its_own"))
    await office.assign()
    await registrar.run_due()
    assert "credentials" in (await office.row()).problem
    office.twilio.account(OTHER, "a_token_of_its_own")
    office.later(5)
    await registrar.run_due()
    assert office.there(account=own) == OURS
    assert office.there() == BEFORE


async def test_a_token_that_cannot_be_read_is_told(office):
    registrar = office.registrar(vault=Vault(["another key than it was kept with"]))
    await tenants.set_account(office.database, VAULT, office.by(), Account(OTHER, "a_token_of_its_own"))
    await office.assign()
    await registrar.run_due()
    assert "VOCELIO_SECRET_KEY" in (await office.row()).problem
    page = await drift.check(registrar.desk, "harbour", 50, "")
    assert (page.account, page.managed) == ("", True)
    assert "VOCELIO_SECRET_KEY" in page.problem


async def test_another_account_is_looked_at_at_once(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    own = office.twilio.account(OTHER, "a_token_of_its_own")
    own.add(NUMBER, **BEFORE | {"voice_url": "https://moved.example"})
    office.account.remove(NUMBER)
    await tenants.set_account(office.database, VAULT, office.by(), Account(OTHER, "a_token_of_its_own"))
    await registrar.run_due()
    assert office.there(account=own) == OURS
    await office.unassign()
    await registrar.run_due()
    assert office.there(account=own)["voice_url"] == "https://moved.example"


async def test_an_account_that_is_gone_cannot_be_set_back(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    await office.unassign()
    without = office.registrar({OTHER: "another"})
    await without.run_due()
    row = await office.row()
    assert (row.state, row.wanted) == ("failed", False)
    assert ACCOUNT in row.problem


async def test_what_somebody_else_has_set_meanwhile_is_theirs(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    office.account.number(NUMBER)["voice_url"] = "https://elsewhere.example"
    await office.unassign()
    await registrar.run_due()
    assert office.there()["voice_url"] == "https://elsewhere.example"
    assert await office.row() is None


async def test_set_back_after_the_gateway_has_moved(office):
    before, after = office.registrar(), office.registrar(public_url="https://moved.example")
    await office.assign()
    await before.run_due()
    await office.unassign()
    await after.run_due()
    assert office.there() == BEFORE


async def test_a_number_goes_from_one_tenant_to_another_before_it_is_set_back(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    await office.unassign()
    await numbers.remove(office.database, office.by(), NUMBER)
    await office.open("museum", NUMBER)
    await office.assign(name="museum")
    await registrar.run_due()
    assert office.there() == OURS
    assert await office.row() is None
    await office.unassign(name="museum")
    await registrar.run_due()
    assert office.there() == BEFORE


async def test_two_registrars_at_once_do_it_once(office):
    first, second = office.registrar(), office.registrar()
    await office.assign()
    done = await asyncio.gather(first.run_due(), second.run_due())
    assert sorted(done) == [0, 1]
    assert len(office.twilio.requests("POST")) == 1


async def test_many_numbers_are_shared_out(office):
    both = [office.registrar(), office.registrar()]
    made = [f"+1307224{place:04}" for place in range(20)]
    for number in made:
        office.account.add(number, **BEFORE)
        await numbers.create(office.database, office.by(), NewNumber(number))
        await office.assign(number)
    assert sum(await asyncio.gather(*(one.run_due() for one in both))) == 20
    assert all(office.there(number) == OURS for number in made)
    assert len(office.twilio.requests("POST")) == 20


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_whoever_dies_in_the_middle_is_taken_over_from(office, method):
    dying, other = office.registrar(), office.registrar()
    office.twilio.trouble(Trouble(seconds=60, slow=True), method=method)
    await office.assign()
    carrying = asyncio.create_task(dying.run_due())
    await _until(lambda: office.twilio.requests(method))
    carrying.cancel()  # without a word, as a killed process
    with suppress(asyncio.CancelledError):
        await carrying
    assert await other.run_due() == 0
    office.later(LEASE_SECONDS - 1)
    assert await other.run_due() == 0
    office.later(1)
    assert await other.run_due() == 1
    assert office.there() == OURS
    await office.unassign()
    await other.run_due()
    assert office.there() == BEFORE


async def test_whoever_has_lost_its_lease_sets_nothing(office):
    slow, other = office.registrar(), office.registrar()
    (task,) = await queue.take(office.database, "slow", office.now + 1, office.now + 2, 5) or [None]
    assert task is None
    await office.assign()
    (task,) = await queue.take(office.database, "slow", office.now, office.now + 1_000_000, 5)
    office.later(1)
    assert await other.run_due() == 1
    await office.unassign()
    await other.run_due()
    office.twilio.seen.clear()
    await slow._carry(task)
    assert office.there() == BEFORE
    assert office.twilio.requests("POST") == []


async def test_unassigned_while_it_is_being_set(office):
    registrar = office.registrar()
    office.twilio.trouble(Trouble(seconds=0.3, slow=True), method="POST")
    await office.assign()
    carrying = asyncio.create_task(registrar.run_due())
    await _until(lambda: office.twilio.requests("POST"))
    await office.unassign()
    assert await carrying == 2
    assert office.there() == BEFORE
    assert await office.row() is None
    assert office.told() == ["number.restored"]


async def test_in_the_background_from_start_to_end(office):
    registrar = office.registrar()
    await registrar.start()
    await office.assign()
    registrar.wake()
    await _until(lambda: office.there() == OURS)
    office.twilio.trouble(Trouble(seconds=60, slow=True))
    await office.unassign()
    registrar.wake()
    await _until(lambda: len(office.twilio.requests("GET")) == 2)
    await registrar.aclose()
    others = office.registrar()
    assert await others.run_due() == 1  # at once: what was under way was given back
    assert office.there() == BEFORE
    assert not [task for task in asyncio.all_tasks() if "regist" in task.get_name()]


async def test_drift_is_seen_told_once_and_repaired(office):
    registrar = office.registrar()
    await office.assign()
    before = await office.look(registrar)
    assert (before.state, before.found.voice_url) == ("pending", BEFORE["voice_url"])
    await registrar.run_due()
    assert (await office.look(registrar)).difference == []
    office.account.number(NUMBER)["voice_url"] = "https://user:secret@elsewhere.example/x"
    for _ in range(2):
        seen = await office.look(registrar)
        assert seen.state == "drifted"
        (difference,) = seen.difference
        assert difference.field == "voice_url"
        assert difference.wanted == f"{PUBLIC_URL}/twilio/voice"
        assert difference.found == "https://user:***@elsewhere.example/x"
    assert await registrar.run_due() == 0
    assert office.told() == ["number.registered", "number.drifted"]
    async with office.database.writing() as connection:
        await queue.want(connection, "harbour", NUMBER, office.now)
    await registrar.run_due()
    assert office.there() == OURS
    assert office.told()[2:] == ["number.repaired"]
    await office.unassign()
    await registrar.run_due()
    assert office.there() == BEFORE


async def test_drift_that_somebody_has_mended(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    office.account.number(NUMBER)["trunk_sid"] = "TK" + "3" * 32
    seen = await office.look(registrar)
    assert (seen.state, seen.difference) == ("drifted", [])
    assert "TK" + "3" * 32 in seen.problem
    office.account.number(NUMBER)["trunk_sid"] = None
    assert (await office.look(registrar)).state == "registered"
    office.account.remove(NUMBER)
    seen = await office.look(registrar)
    assert (seen.state, seen.found) == ("drifted", None)
    assert ACCOUNT in seen.problem


async def test_what_cannot_be_looked_at_has_not_drifted(office):
    registrar = office.registrar()
    await office.assign()
    await registrar.run_due()
    office.twilio.account(ACCOUNT, "another token")
    assert (await office.look(registrar)).state == "registered"
    office.twilio.account(ACCOUNT, TOKEN)
    assert office.told() == ["number.registered"]


async def _until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (of another task's doing, which tells nobody)
            await asyncio.sleep(0.01)
