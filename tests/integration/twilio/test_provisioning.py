"""Number provisioning: webhooks follow assignments, despite failures, in any process."""

import asyncio
from contextlib import suppress

import pytest

from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from tests.support.provisioning_env import GATEWAY_WEBHOOKS, PREVIOUS_WEBHOOKS, PUBLIC_URL, ProvisioningEnv
from tests.support.tenant_fixtures import CIPHER
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.simulator.rest_api.server import FaultRule
from vocelio.gateway.store import number_provisioning, numbers
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import twilio_accounts
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccount
from vocelio.gateway.twilio.provisioning import drift
from vocelio.gateway.twilio.provisioning.worker import BACKOFF, LEASE_SECONDS

OTHER = "AC" + "6" * 32


@pytest.fixture
async def provisioning_env(database, twilio_api, make_actor):
    """One tenant and one number with its previous webhooks."""
    env = ProvisioningEnv(database, twilio_api, make_actor)
    await env.create_tenant()
    env.twilio_account.add_number(NUMBER, **PREVIOUS_WEBHOOKS)
    yield env
    for context in env.contexts:
        await context.twilio_client.aclose()


async def test_assignment_sets_webhooks_and_unassignment_restores_them(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    assert (await provisioning_env.get_row()).state == "pending"
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioner.process_due() == 1
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert (await provisioning_env.get_row()).state == "provisioned"
    await provisioning_env.unassign_number()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None
    assert provisioning_env.event_types() == ["number.provisioned", "number.restored"]
    assert {event.tenant for event in provisioning_env.bus.events} == {"harbour"}
    assert [len(item.form) for item in provisioning_env.twilio.find_requests("POST")] == [6, 6]
    assert await provisioner.process_due() == 0


async def test_assignment_undone_before_processing_changes_nothing(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioning_env.unassign_number()
    assert await provisioner.process_due() == 0
    assert provisioning_env.twilio.recorded_requests == []


async def test_assignment_of_another_flow_changes_nothing_at_twilio(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    await provisioning_env.assign_number()
    assert await provisioner.process_due() == 0


async def test_number_deleted_before_it_is_restored_is_restored(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    await provisioning_env.unassign_number()
    await numbers.delete_number(provisioning_env.database, provisioning_env.actor_now(), NUMBER)
    assert (await provisioning_env.get_row()).desired is False
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (FaultRule(401), "rejects the account's credentials"),
        (FaultRule(404), "not found"),
        (FaultRule(429), "Too Many Requests"),
        (FaultRule(500), "Internal Server Error"),
        (FaultRule(), "does not answer"),
        (FaultRule(delay_seconds=3, is_delay_only=True), "too long"),
    ],
    ids=["401", "404", "429", "500", "dropped", "slow"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_failure_is_recorded_and_retried(provisioning_env, fault, message, method):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(fault, times=2 if fault.is_delay_only else 100, method=method)
    await provisioning_env.assign_number()
    await provisioner.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.failed_attempts, row.due_at) == ("failed", 1, provisioning_env.now + 5_000_000)
    assert message in row.error
    assert provisioning_env.webhooks_at_twilio() in (
        PREVIOUS_WEBHOOKS,
        GATEWAY_WEBHOOKS,
    )  # GATEWAY_WEBHOOKS: the response came too late
    assert await provisioner.process_due() == 0
    provisioning_env.twilio.clear_faults()
    provisioning_env.advance_clock(5)
    await provisioner.process_due()
    assert (await provisioning_env.get_row()).state == "provisioned"
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert provisioning_env.event_types() == ["number.provisioning_failed", "number.provisioned", "number.restored"]


async def test_failure_is_retried_forever_with_backoff_and_reported_once(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(401), times=1_000)
    await provisioning_env.assign_number()
    for attempt in range(1, 13):
        assert await provisioner.process_due() == 1
        row = await provisioning_env.get_row()
        assert (row.failed_attempts, row.due_at - provisioning_env.now) == (
            attempt,
            BACKOFF.delay_seconds(attempt) * 1_000_000,
        )
        provisioning_env.advance_clock(BACKOFF.delay_seconds(attempt))
    assert BACKOFF.delay_seconds(12) == BACKOFF.delay_seconds(100_000) == BACKOFF.max_seconds
    assert provisioning_env.event_types() == ["number.provisioning_failed"]


async def test_retry_after_of_twilio_is_respected(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(429, retry_after_seconds=90))
    await provisioning_env.assign_number()
    await provisioner.process_due()
    assert (await provisioning_env.get_row()).due_at == provisioning_env.now + 90_000_000


async def test_number_missing_from_the_account_fails_until_it_is_added(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio_account.delete_number(NUMBER)
    await provisioning_env.assign_number()
    await provisioner.process_due()
    row = await provisioning_env.get_row()
    assert row.state == "failed"
    assert NUMBER in row.error
    assert ACCOUNT in row.error
    provisioning_env.twilio_account.add_number(NUMBER)
    provisioning_env.advance_clock(5)
    await provisioner.process_due()
    assert (await provisioning_env.get_row()).state == "provisioned"


@pytest.mark.parametrize("override", [{"voice_application_sid": "AP" + "1" * 32}, {"trunk_sid": "TK" + "2" * 32}])
async def test_overridden_webhooks_are_reported_and_not_changed(provisioning_env, override):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio_account.get_number(NUMBER).update(override)
    await provisioning_env.assign_number()
    await provisioner.process_due()
    row = await provisioning_env.get_row()
    assert row.state == "overridden"
    assert next(iter(override.values())) in row.error
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert provisioning_env.twilio.find_requests("POST") == []
    provisioning_env.twilio_account.get_number(NUMBER).update(dict.fromkeys(override, ""))
    provisioning_env.advance_clock(5)
    await provisioner.process_due()
    assert (await provisioning_env.get_row()).state == "provisioned"


async def test_without_an_account_nothing_is_set_until_one_is_configured(provisioning_env):
    provisioner = provisioning_env.create_provisioner({SIMULATOR_ACCOUNT_SID: "anything"})
    await provisioning_env.assign_number()
    await provisioner.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.due_at) == ("not_managed", None)
    assert "TWILIO_ACCOUNT_SID" in row.error
    assert (provisioning_env.twilio.recorded_requests, provisioning_env.event_types()) == ([], [])
    await provisioning_env.unassign_number()
    assert await provisioning_env.get_row() is None
    await provisioning_env.assign_number()
    await provisioner.process_due()
    with_account = provisioning_env.create_provisioner()
    await with_account.start()
    await _wait_until(lambda: provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS)
    await with_account.aclose()


@pytest.mark.parametrize("public_url", ["http://localhost:8080", "http://voice.example", "http://127.0.0.1"])
async def test_no_url_without_tls_is_ever_set(provisioning_env, public_url):
    provisioner = provisioning_env.create_provisioner(public_url=public_url)
    await provisioning_env.assign_number()
    await provisioner.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.account_sid) == ("failed", "")
    assert "VOCELIO_PUBLIC_URL" in row.error
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    account = provisioner.context.account_client(provisioner.context.credentials.platform)
    with pytest.raises(TwilioError, match="not https"):
        await account.set_webhooks("PN" + "1" * 32, provisioner.context.webhooks)
    with pytest.raises(TwilioError, match="not https"):
        await account.redirect_call("CA" + "1" * 32, f"{public_url}/twilio/voice")
    assert provisioning_env.twilio.find_requests("POST") == []


async def put_own_account(env, *account_numbers):
    """Give the tenant an account of its own, of which Twilio has told these numbers; return it."""
    account = TwilioAccount(OTHER, "a_token_of_its_own")
    await twilio_accounts.put_twilio_account(env.database, CIPHER, env.actor_now(), account, account_numbers)
    return env.twilio.add_account(OTHER, "a_token_of_its_own")


async def test_number_is_provisioned_in_the_account_under_which_it_is_claimed(provisioning_env):
    own = await put_own_account(provisioning_env, NUMBER)
    own.add_number(NUMBER)
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_account(OTHER, "a token that was changed at Twilio")
    await provisioning_env.assign_number()
    await provisioner.process_due()
    assert "credentials" in (await provisioning_env.get_row()).error
    provisioning_env.twilio.add_account(OTHER, "a_token_of_its_own")
    provisioning_env.advance_clock(5)
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own) == GATEWAY_WEBHOOKS
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_number_of_the_platform_stays_the_platforms_when_the_tenant_gets_an_account(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await put_own_account(provisioning_env)
    await provisioning_env.assign_number()
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    compared = await provisioning_env.check_drift(provisioner)
    assert (compared.state, compared.differences, compared.error) == ("provisioned", [], "")


@pytest.mark.parametrize("change", ["removed", "replaced", "taken by another tenant"])
async def test_number_of_a_lost_account_is_never_provisioned_with_other_credentials(provisioning_env, change):
    """Also if the platform's account, or the tenant's new one, has such a number."""
    env = provisioning_env
    provisioner = env.create_provisioner()
    (await put_own_account(env, NUMBER)).add_number(NUMBER)
    if change == "removed":
        await twilio_accounts.delete_twilio_account(env.database, env.actor_now())
    elif change == "replaced":
        account = TwilioAccount("AC" + "7" * 32, "a_token_of_its_own")
        env.twilio.add_account(account.account_sid, account.auth_token).add_number(NUMBER)
        await twilio_accounts.put_twilio_account(env.database, CIPHER, env.actor_now(), account)
    else:
        await env.create_tenant("museum", number=None)
        account = TwilioAccount(OTHER, "a_token_of_its_own")
        await twilio_accounts.put_twilio_account(env.database, CIPHER, env.actor_now("museum"), account)
    await env.assign_number()
    await provisioner.process_due()
    row = await env.get_row()
    assert (row.state, row.account_sid) == ("failed", "")
    assert "lead nowhere" in row.error
    assert env.twilio.find_requests("POST") == []
    compared = await env.check_drift(provisioner)
    assert (compared.state, compared.error) == ("failed", row.error)


async def test_token_that_cannot_be_decrypted_is_reported(provisioning_env):
    await put_own_account(provisioning_env, NUMBER)
    provisioner = provisioning_env.create_provisioner(
        cipher=SecretCipher(["another key than the one used for encryption"])
    )
    await provisioning_env.assign_number()
    await provisioner.process_due()
    assert "VOCELIO_SECRET_KEYS" in (await provisioning_env.get_row()).error
    page = await drift.compare(provisioner.context, "harbour", 50, "")
    assert (page.account_sid, page.managed) == ("", True)
    assert "VOCELIO_SECRET_KEYS" in page.error


async def test_changed_account_is_processed_at_once(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    own = await put_own_account(provisioning_env, NUMBER)
    own.add_number(NUMBER, **PREVIOUS_WEBHOOKS | {"voice_url": "https://moved.example"})
    provisioning_env.twilio_account.delete_number(NUMBER)
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own) == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio(account=own)["voice_url"] == "https://moved.example"


async def test_number_of_a_removed_account_cannot_be_restored(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    await provisioning_env.unassign_number()
    without_account = provisioning_env.create_provisioner({OTHER: "another"})
    await without_account.process_due()
    row = await provisioning_env.get_row()
    assert (row.state, row.desired) == ("failed", False)
    assert ACCOUNT in row.error


async def test_webhooks_changed_elsewhere_are_not_restored(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    provisioning_env.twilio_account.get_number(NUMBER)["voice_url"] = "https://elsewhere.example"
    await provisioning_env.unassign_number()
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio()["voice_url"] == "https://elsewhere.example"
    assert await provisioning_env.get_row() is None


async def test_number_is_restored_after_the_public_url_has_changed(provisioning_env):
    before, after = (
        provisioning_env.create_provisioner(),
        provisioning_env.create_provisioner(public_url="https://moved.example"),
    )
    await provisioning_env.assign_number()
    await before.process_due()
    await provisioning_env.unassign_number()
    await after.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_number_passes_to_another_tenant_before_it_is_restored(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    await provisioning_env.unassign_number()
    await numbers.delete_number(provisioning_env.database, provisioning_env.actor_now(), NUMBER)
    await provisioning_env.create_tenant("museum", NUMBER)
    await provisioning_env.assign_number(name="museum")
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert await provisioning_env.get_row() is None
    await provisioning_env.unassign_number(name="museum")
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_concurrent_provisioners_set_a_number_once(provisioning_env):
    first, second = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    done = await asyncio.gather(first.process_due(), second.process_due())
    assert sorted(done) == [0, 1]
    assert len(provisioning_env.twilio.find_requests("POST")) == 1


async def test_provisioners_share_many_numbers(provisioning_env):
    provisioners = [provisioning_env.create_provisioner(), provisioning_env.create_provisioner()]
    added_numbers = [f"+1307224{place:04}" for place in range(20)]
    for number in added_numbers:
        provisioning_env.twilio_account.add_number(number, **PREVIOUS_WEBHOOKS)
        await numbers.create_number(provisioning_env.database, provisioning_env.actor_now(), NewNumber(number))
        await provisioning_env.assign_number(number)
    assert sum(await asyncio.gather(*(item.process_due() for item in provisioners))) == 20
    assert all(provisioning_env.webhooks_at_twilio(number) == GATEWAY_WEBHOOKS for number in added_numbers)
    assert len(provisioning_env.twilio.find_requests("POST")) == 20


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_task_of_a_killed_process_is_taken_over_when_its_lease_ends(provisioning_env, method):
    killed, other = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=60, is_delay_only=True), method=method)
    await provisioning_env.assign_number()
    processing = asyncio.create_task(killed.process_due())
    await _wait_until(lambda: provisioning_env.twilio.find_requests(method))
    processing.cancel()  # releases nothing, like a killed process
    with suppress(asyncio.CancelledError):
        await processing
    assert await other.process_due() == 0
    provisioning_env.advance_clock(LEASE_SECONDS - 1)
    assert await other.process_due() == 0
    provisioning_env.advance_clock(1)
    assert await other.process_due() == 1
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    await provisioning_env.unassign_number()
    await other.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_worker_that_lost_its_lease_changes_nothing(provisioning_env):
    slow, other = provisioning_env.create_provisioner(), provisioning_env.create_provisioner()
    (task,) = await number_provisioning.lease_due(
        provisioning_env.database, "slow", provisioning_env.now + 1, provisioning_env.now + 2, 5
    ) or [None]
    assert task is None
    await provisioning_env.assign_number()
    (task,) = await number_provisioning.lease_due(
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


async def test_unassignment_during_processing_restores_the_number(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=0.3, is_delay_only=True), method="POST")
    await provisioning_env.assign_number()
    processing = asyncio.create_task(provisioner.process_due())
    await _wait_until(lambda: provisioning_env.twilio.find_requests("POST"))
    await provisioning_env.unassign_number()
    assert await processing == 2
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert await provisioning_env.get_row() is None
    assert provisioning_env.event_types() == ["number.restored"]


async def test_background_worker_from_start_to_aclose(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioner.start()
    await provisioning_env.assign_number()
    provisioner.notify()
    await _wait_until(lambda: provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS)
    provisioning_env.twilio.add_fault(FaultRule(delay_seconds=60, is_delay_only=True))
    await provisioning_env.unassign_number()
    provisioner.notify()
    await _wait_until(lambda: len(provisioning_env.twilio.find_requests("GET")) == 2)
    await provisioner.aclose()
    others = provisioning_env.create_provisioner()
    assert await others.process_due() == 1  # at once, since its lease was released
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS
    assert not [task for task in asyncio.all_tasks() if "number provisioning" in task.get_name()]


async def test_drift_is_detected_published_once_and_repaired(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    before = await provisioning_env.check_drift(provisioner)
    assert (before.state, before.actual.voice_url) == ("pending", PREVIOUS_WEBHOOKS["voice_url"])
    await provisioner.process_due()
    assert (await provisioning_env.check_drift(provisioner)).differences == []
    provisioning_env.twilio_account.get_number(NUMBER)["voice_url"] = "https://user:secret@elsewhere.example/x"
    for _ in range(2):
        compared = await provisioning_env.check_drift(provisioner)
        assert compared.state == "drifted"
        (difference,) = compared.differences
        assert difference.field == "voice_url"
        assert difference.desired == f"{PUBLIC_URL}/twilio/voice"
        assert difference.actual == "https://user:***@elsewhere.example/x"
    assert await provisioner.process_due() == 0
    assert provisioning_env.event_types() == ["number.provisioned", "number.drifted"]
    async with provisioning_env.database.transaction() as connection:
        await number_provisioning.request_setup(connection, "harbour", NUMBER, provisioning_env.now)
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == GATEWAY_WEBHOOKS
    assert provisioning_env.event_types()[2:] == ["number.repaired"]
    await provisioning_env.unassign_number()
    await provisioner.process_due()
    assert provisioning_env.webhooks_at_twilio() == PREVIOUS_WEBHOOKS


async def test_drift_fixed_elsewhere_is_cleared(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    provisioning_env.twilio_account.get_number(NUMBER)["trunk_sid"] = "TK" + "3" * 32
    compared = await provisioning_env.check_drift(provisioner)
    assert (compared.state, compared.differences) == ("drifted", [])
    assert "TK" + "3" * 32 in compared.error
    provisioning_env.twilio_account.get_number(NUMBER)["trunk_sid"] = None
    assert (await provisioning_env.check_drift(provisioner)).state == "provisioned"
    provisioning_env.twilio_account.delete_number(NUMBER)
    compared = await provisioning_env.check_drift(provisioner)
    assert (compared.state, compared.actual) == ("drifted", None)
    assert ACCOUNT in compared.error


async def test_number_that_cannot_be_queried_has_not_drifted(provisioning_env):
    provisioner = provisioning_env.create_provisioner()
    await provisioning_env.assign_number()
    await provisioner.process_due()
    provisioning_env.twilio.add_account(ACCOUNT, "another token")
    assert (await provisioning_env.check_drift(provisioner)).state == "provisioned"
    provisioning_env.twilio.add_account(ACCOUNT, TOKEN)
    assert provisioning_env.event_types() == ["number.provisioned"]


async def _wait_until(is_true):
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 (changed by another task, without an event)
            await asyncio.sleep(0.01)
