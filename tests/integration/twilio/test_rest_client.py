"""The client, with the real SDK, at the emulated API."""

import asyncio
import time

import pytest

from tests.integration.twilio.conftest import ACCOUNT, NUMBER, TOKEN
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.simulator.rest_api.server import FaultRule
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.rest_client import TwilioClient

OURS = Webhooks(
    "https://v.example/voice", "POST", "https://v.example/fallback", "GET", "https://v.example/status", "POST"
)


async def list_numbers(account):
    return [one.number async for one in account.iter_numbers()]


async def test_a_number_is_found_and_set_by_one_request_of_the_sdk(twilio_api, account_client):
    made = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER, friendly_name="Front desk")
    found = await account_client.find_number(NUMBER)
    assert (found.sid, found.number, found.name) == (made["sid"], NUMBER, "Front desk")
    assert found.webhooks == Webhooks("https://demo.twilio.com/welcome/voice/")
    assert (await account_client.set_webhooks(found.sid, OURS)).webhooks == OURS
    assert (await account_client.find_number(NUMBER)).webhooks == OURS
    (update,) = twilio_api.find_requests("POST")
    assert update.path == f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers/{made['sid']}.json"
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


async def test_what_is_empty_is_cleared(twilio_api, account_client):
    made = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    assert (await account_client.set_webhooks(made["sid"], Webhooks())).webhooks == Webhooks()
    assert twilio_api.add_account(ACCOUNT, TOKEN).get_number(NUMBER)["voice_url"] == ""


async def test_a_number_that_only_contains_it_is_another(twilio_api, account_client):
    twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER + "0")
    assert await account_client.find_number(NUMBER) is None


async def test_what_answers_in_place_of_the_webhooks(twilio_api, account_client):
    there = twilio_api.add_account(ACCOUNT, TOKEN)
    there.add_number(NUMBER, voice_application_sid="AP" + "1" * 32)
    there.add_number("+13072249664", trunk_sid="TK" + "2" * 32)
    assert (await account_client.find_number(NUMBER)).override == "AP" + "1" * 32
    assert (await account_client.find_number("+13072249664")).override == "TK" + "2" * 32


async def test_all_numbers_page_after_page(twilio_api, account_client):
    there = twilio_api.add_account(ACCOUNT, TOKEN)
    made = [there.add_number(f"+1307{place:07}")["phone_number"] for place in range(2_050)]
    assert await list_numbers(account_client) == made
    assert len(twilio_api.recorded_requests) == 3
    assert {one.query["PageSize"] for one in twilio_api.recorded_requests} == {"1000"}


async def test_an_account_sees_its_own(twilio_api, twilio_client, account_client):
    other = "AC" + "6" * 32
    twilio_api.add_account(other, "another token").add_number(NUMBER)
    assert await list_numbers(account_client) == []
    assert await list_numbers(twilio_client.account_client(other, "another token")) == [NUMBER]


async def test_wrong_credentials(twilio_api, twilio_client):
    for sid, token in ((ACCOUNT, "a wrong one"), ("AC" + "9" * 32, TOKEN)):
        account = twilio_client.account_client(sid, token)
        for refused in (
            list_numbers(account),
            account.find_number(NUMBER),
            account.set_webhooks("PN" + "1" * 32, OURS),
        ):
            with pytest.raises(TwilioError, match="refuses the account's credentials") as error:
                await refused
            assert (error.value.http_status, error.value.code) == (401, 20003)
            assert token not in str(error.value)
    assert len(twilio_api.recorded_requests) == 6  # it is not tried again: it would be refused again


async def test_what_is_not_there(twilio_api, account_client):
    with pytest.raises(TwilioError, match="was not found") as error:
        await account_client.set_webhooks("PN" + "1" * 32, OURS)
    assert (error.value.http_status, error.value.code) == (404, 20404)


async def test_what_twilio_does_not_take(twilio_api, account_client):
    made = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    before = dict(made)
    with pytest.raises(TwilioError, match="VoiceUrl is not valid"):
        await account_client.set_webhooks(made["sid"], Webhooks("nonsense", "POST", "https://v.example/fallback"))
    assert made == before


@pytest.mark.parametrize(
    "trouble", [FaultRule(429), FaultRule(500), FaultRule(503), FaultRule(), FaultRule(is_applied=True)]
)
async def test_trouble_that_passes_is_not_noticed(twilio_api, account_client, trouble):
    made = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    twilio_api.add_fault(trouble, times=2)
    assert (await account_client.set_webhooks(made["sid"], OURS)).webhooks == OURS
    twilio_api.add_fault(trouble, times=2)
    assert await list_numbers(account_client) == [NUMBER]
    assert len(twilio_api.recorded_requests) == 6


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (FaultRule(429), "Too Many Requests"),
        (FaultRule(500), "Internal Server Error"),
        (FaultRule(), "does not answer"),
    ],
)
async def test_trouble_that_stays_is_told_in_the_end(twilio_api, account_client, trouble, told):
    twilio_api.add_fault(trouble, times=100)
    for asked in (
        list_numbers(account_client),
        account_client.find_number(NUMBER),
        account_client.set_webhooks("PN" + "1" * 32, OURS),
    ):
        twilio_api.recorded_requests.clear()
        with pytest.raises(TwilioError, match=told) as error:
            await asked
        assert error.value.http_status == trouble.status
        assert (
            3 <= len(twilio_api.recorded_requests) <= 6
        )  # aiohttp asks again by itself when a connection that was kept is dropped


async def test_retry_after_is_waited_for_when_it_is_short(twilio_api, account_client):
    twilio_api.add_fault(FaultRule(429, retry_after_seconds=1))
    before = time.monotonic()
    assert await account_client.find_number(NUMBER) is None
    assert time.monotonic() - before > 0.9


async def test_retry_after_is_left_to_whoever_asked_when_it_is_long(twilio_api, account_client):
    twilio_api.add_fault(FaultRule(429, retry_after_seconds=60))
    with pytest.raises(TwilioError) as error:
        await account_client.find_number(NUMBER)
    assert error.value.retry_after_seconds == 60
    assert len(twilio_api.recorded_requests) == 1


async def test_an_api_that_is_slow_is_given_up(twilio_api):
    rest = TwilioClient(twilio_api.origin, timeout_seconds=0.1, retry_delays_seconds=())
    try:
        twilio_api.add_fault(FaultRule(delay_seconds=5, is_delay_only=True))
        with pytest.raises(TwilioError, match="it took too long"):
            await rest.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
        assert await rest.account_client(ACCOUNT, TOKEN).find_number(NUMBER) is None
    finally:
        await rest.aclose()


async def test_an_api_that_is_not_there():
    rest = TwilioClient("http://127.0.0.1:9", retry_delays_seconds=(0.01,))
    try:
        with pytest.raises(TwilioError, match="does not answer"):
            await rest.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
    finally:
        await rest.aclose()


async def test_what_is_no_answer_of_twilios(twilio_api):
    async def page(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html/>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        rest = TwilioClient(f"http://{host}:{port}")
        try:
            for asked in (
                rest.account_client(ACCOUNT, TOKEN).find_number(NUMBER),
                list_numbers(rest.account_client(ACCOUNT, TOKEN)),
            ):
                with pytest.raises(TwilioError, match="not of it"):
                    await asked
        finally:
            await rest.aclose()


async def test_a_call_is_ended_once_or_is_gone(twilio_api, account_client):
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


async def test_a_call_is_sent_elsewhere_while_it_lives(twilio_api, account_client):
    call = twilio_api.add_account(ACCOUNT, TOKEN).add_call(NUMBER, "+13105550142")
    await account_client.redirect_call(call["sid"], "https://v.example/continue")
    assert call["url"] == "https://v.example/continue"
    assert twilio_api.recorded_requests[-1].form == {"Url": "https://v.example/continue", "Method": "POST"}
    await account_client.hang_up_call(call["sid"])
    with pytest.raises(TwilioError, match="not in-progress"):
        await account_client.redirect_call(call["sid"], "https://v.example/continue")


async def test_many_at_once_and_the_loop_goes_on(twilio_api, account_client):
    made = twilio_api.add_account(ACCOUNT, TOKEN).add_number(NUMBER)
    late = []

    async def watch():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(account_client.set_webhooks(made["sid"], OURS) for _ in range(30)))
    watching.cancel()
    assert late


async def test_closed_twice_and_never_used(twilio_api):
    rest = TwilioClient(twilio_api.origin)
    await rest.aclose()
    await rest.account_client(ACCOUNT, TOKEN).find_number(NUMBER)
    await rest.aclose()
    await rest.aclose()
