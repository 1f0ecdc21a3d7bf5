"""Numbers set at Twilio: as they are assigned, whatever goes wrong meanwhile, by whichever process."""

import asyncio
from contextlib import suppress

import pytest

from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from tests.support.provisioning_env import GATEWAY_WEBHOOKS, PREVIOUS_WEBHOOKS, PUBLIC_URL, ProvisioningEnv
from tests.support.tenant_fixtures import CIPHER
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.simulator.rest_api.server import FaultRule
from vocelio.gateway.store import numbers
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import TwilioAccount
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.worker import BACKOFF_MAX_SECONDS, LEASE_SECONDS, backoff

OTHER = "AC" + "6" * 32


@pytest.fixture
async def provisioning_env(database, twilio_api, make_actor):
    """One tenant, one number, and what that was set to before."""
    office = ProvisioningEnv(database, twilio_api, make_actor)
    await office.create_tenant()
    office.twilio_account.add_number(NUMBER, **PREVIOUS_WEBHOOKS)
    yield office
    for desk in office.contexts:
        await desk.twilio_client.aclose()


async def test_assigned_it_is_set_and_unassigned_it_is_set_back(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    assert (await provisioning_env.get_row()).state == "pending"
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await registrar.process_due() == 1
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert (await provisioning_env.get_row()).state == "registered"
    await provisioning_env.unassign_number()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None
    assert provisioning_env.event_types() == ["number.registered", "number.restored"]
    assert {event.tenant for event in provisioning_env.bus.events} == {"harbour"}
    assert [len(one.form) for one in provisioning_env.twilio.find_requests("POST")] == [6, 6]
    assert await registrar.process_due() == 0


async def test_what_was_changed_before_it_was_done_is_not_done(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioning_env.unassign_number()
    assert await registrar.process_due() == 0
    assert provisioning_env.twilio.recorded_requests == []


async def test_another_flow_is_nothing_to_twilio(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    await provisioning_env.assign_number()
    assert await registrar.process_due() == 0


async def test_removed_before_it_is_set_back_it_is_set_back_all_the_same(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    await provisioning_env.unassign_number()
    await numbers.delete_number(provisioning_env.database, provisioning_env.actor_now(), NUMBER)
    assert (await provisioning_env.get_row()).desired is False
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (FaultRule(401), "refuses the account's credentials"),
        (FaultRule(404), "not found"),
        (FaultRule(429), "Too Many Requests"),
        (FaultRule(500), "Internal Server Error"),
        (FaultRule(), "does not answer"),
        (FaultRule(delay_seconds=3, is_delay_only=True), "too long"),
    ],
    ids=["401", "404", "429", "500", "dropped", "slow"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_trouble_is_told_and_it_is_tried_again(provisioning_env, trouble, told, method):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(trouble, times=2 if trouble.is_delay_only else 100, method=method)
    await provisioning_env.assign_number()
    await registrar.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.failed_attempts, row.due_at) == ("failed", 1, provisioning_env.now + 5_000_000)
    assert told in row.error
    assert provisioning_env.webhooks_at_twilio() in (
        PREVIOUS_WEBHOOKS,
        GATEWAY_WEBHOOKS,
    )  # OURS: a slow answer came too late
    assert await registrar.process_due() == 0
    provisioning_env.twilio.clear_faults()
    provisioning_env.advance_clock(5)
    await registrar.process_due()
    assert (await provisioning_env.get_row()).state == "registered"
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert provisioning_env.event_types() == ["number.registration_failed", "number.registered", "number.restored"]


async def test_it_is_tried_for_ever_but_ever_more_seldom_and_told_once(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(401), times=1_000)
    await provisioning_env.assign_number()
    for attempt in range(1, 13):
        assert await registrar.process_due() == 1
        row = await provisioning_env.get_row()
        assert (row.failed_attempts, row.due_at - provisioning_env.now) == (attempt, backoff(attempt) * 1_000_000)
        provisioning_env.advance_clock(backoff(attempt))
    assert backoff(12) == backoff(100_000) == BACKOFF_MAX_SECONDS
    assert provisioning_env.event_types() == ["number.registration_failed"]


async def test_twilio_says_how_long_to_leave_it_alone(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(429, retry_after_seconds=90))
    await provisioning_env.assign_number()
    await registrar.process_due()
    assert (await provisioning_env.get_row()).due_at == provisioning_env.now + 90_000_000


async def test_a_number_that_the_account_does_not_have(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio_account.delete_number(NUMBER)
    await provisioning_env.assign_number()
    await registrar.process_due()
    row = await provisioning_env.get_row()
    assert row.state == "failed"
    assert NUMBER in row.error
    assert ACCOUNT in row.error
    provisioning_env.twilio_account.add_number(NUMBER)
    provisioning_env.advance_clock(5)
    await registrar.process_due()
    assert (await provisioning_env.get_row()).state == "registered"


@pytest.mark.parametrize("override", [{"voice_application_sid": "AP" + "1" * 32}, {"trunk_sid": "TK" + "2" * 32}])
async def test_what_answers_in_place_of_the_webhooks_is_told_and_left_alone(provisioning_env, override):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio_account.get_number(NUMBER).update(override)
    await provisioning_env.assign_number()
    await registrar.process_due()
    row = await provisioning_env.get_row()
    assert row.state == "overridden"
    assert next(iter(override.values())) in row.error
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert provisioning_env.twilio.find_requests("POST") == []
    provisioning_env.twilio_account.get_number(NUMBER).update(dict.fromkeys(override, ""))
    provisioning_env.advance_clock(5)
    await registrar.process_due()
    assert (await provisioning_env.get_row()).state == "registered"


async def test_without_an_account_nothing_is_set_until_there_is_one(provisioning_env):
    registrar = provisioning_env.create_provisioner({SIMULATOR_ACCOUNT_SID: "anything"})
    await provisioning_env.assign_number()
    await registrar.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.due_at) == ("not_managed", None)
    assert "TWILIO_ACCOUNT_SID" in row.error
    assert (provisioning_env.twilio.recorded_requests, provisioning_env.event_types()) == ([], [])
    await provisioning_env.unassign_number()
    assert await provisioning_env.get_row() is None
    await provisioning_env.assign_number()
    await registrar.process_due()
    with_one = provisioning_env.create_provisioner()
    await with_one.start()
    await _wait_until(lambda: provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS)
    await with_one.aclose()


async def test_a_tenants_own_account_comes_first(provisioning_env):
    own = provisioning_env.twilio.add_account(OTHER, "a token of its own")
    own.add_number(NUMBER)
    registrar = provisioning_env.create_provisioner()
    await tenants.put_twilio_account(
        provisioning_env.database, CIPHER, provisioning_env.actor_now(), TwilioAccount(OTHER, "a_token_of_its_own")
    )
    await provisioning_env.assign_number()
    await registrar.process_due()
    assert "credentials" in (await provisioning_env.get_row()).error
    provisioning_env.twilio.add_account(OTHER, "a_token_of_its_own")
    provisioning_env.advance_clock(5)
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own) == GATEWAY_WEBHOOKS
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_a_token_that_cannot_be_read_is_told(provisioning_env):
    registrar = provisioning_env.create_provisioner(vault=SecretCipher(["another key than it was kept with"]))
    await tenants.put_twilio_account(
        provisioning_env.database, CIPHER, provisioning_env.actor_now(), TwilioAccount(OTHER, "a_token_of_its_own")
    )
    await provisioning_env.assign_number()
    await registrar.process_due()
    assert "VOCELIO_SECRET_KEYS" in (await provisioning_env.get_row()).error
    page = await drift.compare(registrar.context, "harbour", 50, "")
    assert (page.account, page.managed) == ("", True)
    assert "VOCELIO_SECRET_KEYS" in page.problem


async def test_another_account_is_looked_at_at_once(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    own = provisioning_env.twilio.add_account(OTHER, "a_token_of_its_own")
    own.add_number(NUMBER, **PREVIOUS_WEBHOOKS | {"voice_url": "https://moved.example"})
    provisioning_env.twilio_account.delete_number(NUMBER)
    await tenants.put_twilio_account(
        provisioning_env.database, CIPHER, provisioning_env.actor_now(), TwilioAccount(OTHER, "a_token_of_its_own")
    )
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own) == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own)["voice_url"] == "https://moved.example"


async def test_an_account_that_is_gone_cannot_be_set_back(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    await provisioning_env.unassign_number()
    without = provisioning_env.create_provisioner({OTHER: "another"})
    await without.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.desired) == ("failed", False)
    assert ACCOUNT in row.error


async def test_what_somebody_else_has_set_meanwhile_is_theirs(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    provisioning_env.twilio_account.get_number(NUMBER)["voice_url"] = "https://elsewhere.example"
    await provisioning_env.unassign_number()
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio()["voice_url"] == "https://elsewhere.example"
    assert await provisioning_env.get_row() is None


async def test_set_back_after_the_gateway_has_moved(provisioning_env):
    before, after = (
        provisioning_env.create_provisioner(),
        provisioning_env.create_provisioner(public_url="https://moved.example"),
    )
    await provisioning_env.assign_number()
    await before.process_due()
    await provisioning_env.unassign_number()
    await after.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_a_number_goes_from_one_tenant_to_another_before_it_is_set_back(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    await provisioning_env.unassign_number()
    await numbers.delete_number(provisioning_env.database, provisioning_env.actor_now(), NUMBER)
    await provisioning_env.create_tenant("museum", NUMBER)
    await provisioning_env.assign_number(name="museum")
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert await provisioning_env.get_row() is None
    await provisioning_env.unassign_number(name="museum")
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_two_registrars_at_once_do_it_once(provisioning_env):
    first, second = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    done = await asyncio.gather(first.process_due(), second.process_due())
    assert sorted(done) == [0, 1]
    assert len(provisioning_env.twilio.find_requests("POST")) == 1


async def test_many_numbers_are_shared_out(provisioning_env):
    both = [provisioning_env.create_provisioner(), provisioning_env.create_provisioner()]
    made = [f"+1307224{place:04}" for place in range(20)]
    for number in made:
        provisioning_env.twilio_account.add_number(number, **PREVIOUS_WEBHOOKS)
        await numbers.create_number(provisioning_env.database, provisioning_env.actor_now(), NewNumber(number))
        await provisioning_env.assign_number(number)
    assert sum(await asyncio.gather(*(one.process_due() for one in both))) == 20
    assert all(provisioning_env.webhooks_at_twilio(number) == GATEWAY_WEBHOOKS for number in made)
    assert len(provisioning_env.twilio.find_requests("POST")) == 20


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_whoever_dies_in_the_middle_is_taken_over_from(provisioning_env, method):
    dying, other = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=60, is_delay_only=True), method=method)
    await provisioning_env.assign_number()
    carrying = asyncio.create_task(dying.process_due())
    await _wait_until(lambda: provisioning_env.twilio.find_requests(method))
    carrying.cancel()  # without a word, as a killed process
    with suppress(asyncio.CancelledError):
        await carrying
    assert await other.process_due() == 0
    provisioning_env.advance_clock(LEASE_SECONDS - 1)
    assert await other.process_due() == 0
    provisioning_env.advance_clock(1)
    assert await other.process_due() == 1
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await other.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_whoever_has_lost_its_lease_sets_nothing(provisioning_env):
    slow, other = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    (task,) = await queue.lease_due(
        provisioning_env.database, "slow", provisioning_env.now + 1, provisioning_env.now + 2, 5
    ) or [None]
    assert task is None
    await provisioning_env.assign_number()
    (task,) = await queue.lease_due(
        provisioning_env.database, "slow", provisioning_env.now, provisioning_env.now + 1_000_000, 5
    )
    provisioning_env.advance_clock(1)
    assert await other.process_due() == 1
    await provisioning_env.unassign_number()
    await other.process_due()
    provisioning_env.twilio.recorded_requests.clear()
    await slow._process(task)
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert provisioning_env.twilio.find_requests("POST") == []


async def test_unassigned_while_it_is_being_set(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=0.3, is_delay_only=True), method="POST")
    await provisioning_env.assign_number()
    carrying = asyncio.create_task(registrar.process_due())
    await _wait_until(lambda: provisioning_env.twilio.find_requests("POST"))
    await provisioning_env.unassign_number()
    assert await carrying == 2
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None
    assert provisioning_env.event_types() == ["number.restored"]


async def test_in_the_background_from_start_to_end(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await registrar.start()
    await provisioning_env.assign_number()
    registrar.notify()
    await _wait_until(lambda: provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS)
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=60, is_delay_only=True))
    await provisioning_env.unassign_number()
    registrar.notify()
    await _wait_until(lambda: len(provisioning_env.twilio.find_requests("GET")) == 2)
    await registrar.aclose()
    others = provisioning_env.create_provisioner()
    assert await others.process_due() == 1  # at once: what was under way was given back
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert not [task for task in asyncio.all_tasks() if "regist" in task.get_name()]


async def test_drift_is_seen_told_once_and_repaired(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    before = await provisioning_env.check_drift(registrar)
    assert (before.state, before.found.voice_url) == ("pending", PREVIOUS_WEBHOOKS["voice_url"])
    await registrar.process_due()
    assert (await provisioning_env.check_drift(registrar)).difference == []
    provisioning_env.twilio_account.get_number(NUMBER)["voice_url"] = "https://user:secret@elsewhere.example/x"
    for _ in range(2):
        seen = await provisioning_env.check_drift(registrar)
        assert seen.state == "drifted"
        (difference,) = seen.difference
        assert difference.field == "voice_url"
        assert difference.wanted == f"{PUBLIC_URL}/twilio/voice"
        assert difference.found == "https://user:***@elsewhere.example/x"
    assert await registrar.process_due() == 0
    assert provisioning_env.event_types() == ["number.registered", "number.drifted"]
    async with provisioning_env.database.transaction() as connection:
        await queue.request_setup(connection, "harbour", NUMBER, provisioning_env.now)
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert provisioning_env.event_types()[2:] == ["number.repaired"]
    await provisioning_env.unassign_number()
    await registrar.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_drift_that_somebody_has_mended(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    provisioning_env.twilio_account.get_number(NUMBER)["trunk_sid"] = "TK" + "3" * 32
    seen = await provisioning_env.check_drift(registrar)
    assert (seen.state, seen.difference) == ("drifted", [])
    assert "TK" + "3" * 32 in seen.problem
    provisioning_env.twilio_account.get_number(NUMBER)["trunk_sid"] = None
    assert (await provisioning_env.check_drift(registrar)).state == "registered"
    provisioning_env.twilio_account.delete_number(NUMBER)
    seen = await provisioning_env.check_drift(registrar)
    assert (seen.state, seen.found) == ("drifted", None)
    assert ACCOUNT in seen.problem


async def test_what_cannot_be_looked_at_has_not_drifted(provisioning_env):
    registrar = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await registrar.process_due()
    provisioning_env.twilio.add_account(ACCOUNT, "another token")
    assert (await provisioning_env.check_drift(registrar)).state == "registered"
    provisioning_env.twilio.add_account(ACCOUNT, TOKEN)
    assert provisioning_env.event_types() == ["number.registered"]


async def _wait_until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (of another task's doing, which tells nobody)
            await asyncio.sleep(0.01)
