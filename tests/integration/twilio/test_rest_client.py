"""Twilio REST client with the real SDK, at the emulated API."""

import asyncio
import time

import pytest

from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.simulator.rest_api.server import FaultRule
from vocelio.gateway.store.number_provisioning import Webhooks
from vocelio.gateway.twilio.rest_client import TwilioClient

WEBHOOKS = Webhooks(
    "https://v.example/voice", "POST", "https://v.example/fallback", "GET", "https://v.example/status", "POST"
)


async def list_numbers(account):
    return [item.number async for item in account.iter_numbers()]


async def test_find_number_and_set_webhooks_with_one_request(twilio_api, account_client):
    resource = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER, friendly_name="Front desk")
    account_number = await account_client.find_number(NUMBER)
    assert (account_number.sid, account_number.number, account_number.friendly_name) == (
        resource["sid"],
        NUMBER,
        "Front desk",
    )
    assert account_number.webhooks == Webhooks("https://demo.twilio.com/welcome/voice/")
    assert (await account_client.set_webhooks(account_number.sid, WEBHOOKS)).webhooks == WEBHOOKS
    assert (await account_client.find_number(NUMBER)).webhooks == WEBHOOKS
    (update,) = twilio_api.find_requests("POST")
    assert update.path == f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers/{resource['sid']}.json"
    assert update.form == {
        "VoiceUrl": "https://v.example/voice",
        "VoiceMethod": "POST",
        "VoiceFallbackUrl": "https://v.example/fallback",
        "VoiceFallbackMethod": "GET",
        "StatusCallback": "https://v.example/status",
        "StatusCallbackMethod": "POST",
    }
    assert update.username == ACCOUNT
    assert update.user_agent.startswith("twilio-python/")


async def test_empty_webhooks_are_cleared(twilio_api, account_client):
    resource = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    assert (await account_client.set_webhooks(resource["sid"], Webhooks())).webhooks == Webhooks()
    assert twilio_api.add_account(ACCOUNT, TOKEN).get_number(NUMBER)["voice_url"] == ""


async def test_number_that_only_contains_the_requested_one_is_not_found(twilio_api, account_client):
    twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER + "0")
    assert await account_client.find_number(NUMBER) is None


async def test_application_or_trunk_is_the_override_sid(twilio_api, account_client):
    emulated_account = twilio_api.add_account(ACCOUNT, TOKEN)
    emulated_account.add_number(NUMBER, voice_application_sid="AP" + "1" * 32)
    emulated_account.add_number("+13072249664", trunk_sid="TK" + "2" * 32)
    assert (await account_client.find_number(NUMBER)).override_sid == "AP" + "1" * 32
    assert (await account_client.find_number("+13072249664")).override_sid == "TK" + "2" * 32


async def test_iter_numbers_reads_all_pages(twilio_api, account_client):
    emulated_account = twilio_api.add_account(ACCOUNT, TOKEN)
    numbers = [emulated_account.add_number(f"+1307{place:07}")["phone_number"] for place in range(2_050)]
    assert await list_numbers(account_client) == numbers
    assert len(twilio_api.recorded_requests) == 3
    assert {item.query["PageSize"] for item in twilio_api.recorded_requests} == {"1000"}


async def test_account_only_lists_its_own_numbers(twilio_api, twilio_client, account_client):
    other = "AC" + "6" * 32
    twilio_api.add_account(other, "another token").add_number(NUMBER)
    assert await list_numbers(account_client) == []
    assert await list_numbers(twilio_client.account_client(other, "another token")) == [NUMBER]


async def test_wrong_credentials_are_not_retried(twilio_api, twilio_client):
    for sid, token in ((ACCOUNT, "a wrong one"), ("AC" + "9" * 32, TOKEN)):
        account = twilio_client.account_client(sid, token)
        for request in (
            list_numbers(account),
            account.find_number(NUMBER),
            account.set_webhooks("PN" + "1" * 32, WEBHOOKS),
        ):
            with pytest.raises(TwilioError, match="rejects the account's credentials") as error:
                await request
            assert (error.value.http_status, error.value.code) == (401, 20003)
            assert token not in str(error.value)
    assert len(twilio_api.recorded_requests) == 6  # not retried: they would be rejected again


async def test_unknown_resource_is_not_found(twilio_api, account_client):
    with pytest.raises(TwilioError, match="was not found") as error:
        await account_client.set_webhooks("PN" + "1" * 32, WEBHOOKS)
    assert (error.value.http_status, error.value.code) == (404, 20404)


async def test_invalid_webhook_changes_nothing(twilio_api, account_client):
    resource = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    before = dict(resource)
    with pytest.raises(TwilioError, match="VoiceUrl is not valid"):
        await account_client.set_webhooks(resource["sid"], Webhooks("https://", "POST", "https://v.example/fallback"))
    assert resource == before


@pytest.mark.parametrize(
    "fault", [FaultRule(429), FaultRule(500), FaultRule(503), FaultRule(), FaultRule(is_applied=True)]
)
async def test_temporary_fault_is_retried(twilio_api, account_client, fault):
    resource = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    twilio_api.add_fault(fault, times=2)
    assert (await account_client.set_webhooks(resource["sid"], WEBHOOKS)).webhooks == WEBHOOKS
    twilio_api.add_fault(fault, times=2)
    assert await list_numbers(account_client) == [NUMBER]
    assert len(twilio_api.recorded_requests) == 6


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (FaultRule(429), "Too Many Requests"),
        (FaultRule(500), "Internal Server Error"),
        (FaultRule(), "does not answer"),
    ],
)
async def test_lasting_fault_is_raised_after_the_retries(twilio_api, account_client, fault, message):
    twilio_api.add_fault(fault, times=100)
    for request in (
        list_numbers(account_client),
        account_client.find_number(NUMBER),
        account_client.set_webhooks("PN" + "1" * 32, WEBHOOKS),
    ):
        twilio_api.recorded_requests.clear()
        with pytest.raises(TwilioError, match=message) as error:
            await request
        assert error.value.http_status == fault.status
        assert 3 <= len(twilio_api.recorded_requests) <= 6  # aiohttp itself retries when a reused connection is dropped


async def test_short_retry_after_is_waited_for(twilio_api, account_client):
    twilio_api.add_fault(FaultRule(429, retry_after_seconds=1))
    before = time.monotonic()
    assert await account_client.find_number(NUMBER) is None
    assert time.monotonic() - before > 0.9


async def test_long_retry_after_is_raised(twilio_api, account_client):
    twilio_api.add_fault(FaultRule(429, retry_after_seconds=60))
    with pytest.raises(TwilioError) as error:
        await account_client.find_number(NUMBER)
    assert error.value.retry_after_seconds == 60
    assert len(twilio_api.recorded_requests) == 1


async def test_slow_response_times_out(twilio_api):
    client = TwilioClient(twilio_api.origin, timeout_seconds=0.1, retry_delays_seconds=())
    try:
        twilio_api.add_fault(FaultRule(delay_seconds=5, is_delay_only=True))
        with pytest.raises(TwilioError, match="it took too long"):
            await client.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
        assert await client.account_client(ACCOUNT, TOKEN).find_number(NUMBER) is None
    finally:
        await client.aclose()


async def test_unreachable_api_is_reported():
    client = TwilioClient("http://127.0.0.1:9", retry_delays_seconds=(0.01,))
    try:
        with pytest.raises(TwilioError, match="does not answer"):
            await client.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
    finally:
        await client.aclose()


async def test_invalid_response_is_reported(twilio_api):
    async def page(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html/>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        client = TwilioClient(f"http://{host}:{port}")
        try:
            for request in (
                client.account_client(ACCOUNT, TOKEN).find_number(NUMBER),
                list_numbers(client.account_client(ACCOUNT, TOKEN)),
            ):
                with pytest.raises(TwilioError, match="invalid response"):
                    await request
        finally:
            await client.aclose()


async def test_hang_up_call_succeeds_for_ended_and_unknown_calls(twilio_api, account_client):
    call = twilio_api.add_account(ACCOUNT, TOKEN).add_call(NUMBER, "+13105550142")
    await account_client.hang_up_call(call["sid"])
    assert call["status"] == "completed"
    await account_client.hang_up_call(call["sid"])
    await account_client.hang_up_call("CA" + "1" * 32)
    twilio_api.add_fault(FaultRule(400, 21220))
    await account_client.hang_up_call(call["sid"])
    twilio_api.add_fault(FaultRule(400))
    with pytest.raises(TwilioError):
        await account_client.hang_up_call(call["sid"])


async def test_redirect_call_works_only_while_the_call_is_live(twilio_api, account_client):
    call = twilio_api.add_account(ACCOUNT, TOKEN).add_call(NUMBER, "+13105550142")
    await account_client.redirect_call(call["sid"], "https://v.example/continue")
    assert call["url"] == "https://v.example/continue"
    assert twilio_api.recorded_requests[-1].form == {"Url": "https://v.example/continue", "Method": "POST"}
    await account_client.hang_up_call(call["sid"])
    with pytest.raises(TwilioError, match="not in-progress"):
        await account_client.redirect_call(call["sid"], "https://v.example/continue")


async def test_concurrent_requests_do_not_block_the_event_loop(twilio_api, account_client):
    resource = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    delays = []

    async def watch():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            delays.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(account_client.set_webhooks(resource["sid"], WEBHOOKS) for _ in range(30)))
    watching.cancel()
    assert delays


async def test_aclose_may_be_repeated_and_the_client_reused(twilio_api):
    client = TwilioClient(twilio_api.origin)
    await client.aclose()
    await client.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
    await client.aclose()
    await client.aclose()
