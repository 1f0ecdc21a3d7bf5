"""The client, with the real SDK, at the emulated API."""

import asyncio
import time

import pytest

from tests.integration.carrier.conftest import ACCOUNT, NUMBER, TOKEN
from vocelio.gateway.errors import TwilioError
from vocelio.gateway.simulator.rest_api.server import Trouble
from vocelio.gateway.store.provisioning.queue import Webhooks
from vocelio.gateway.twilio.rest_client import Rest

OURS = Webhooks(
    "https://v.example/voice", "POST", "https://v.example/fallback", "GET", "https://v.example/status", "POST"
)


async def numbers(account):
    return [one.number async for one in account.numbers()]


async def test_a_number_is_found_and_set_by_one_request_of_the_sdk(twilio, account):
    made = twilio.account(ACCOUNT, TOKEN).add(NUMBER, friendly_name="Front desk")
    found = await account.find(NUMBER)
    assert (found.sid, found.number, found.name) == (made["sid"], NUMBER, "Front desk")
    assert found.webhooks == Webhooks("https://demo.twilio.com/welcome/voice/")
    assert (await account.configure(found.sid, OURS)).webhooks == OURS
    assert (await account.find(NUMBER)).webhooks == OURS
    (update,) = twilio.requests("POST")
    assert update.path == f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers/{made['sid']}.json"
    assert update.form == {
        "VoiceUrl": "https://v.example/voice",
        "VoiceMethod": "POST",
        "VoiceFallbackUrl": "https://v.example/fallback",
        "VoiceFallbackMethod": "GET",
        "StatusCallback": "https://v.example/status",
        "StatusCallbackMethod": "POST",
    }
    assert update.user == ACCOUNT
    assert update.user_agent.startswith("twilio-python/")


async def test_what_is_empty_is_cleared(twilio, account):
    made = twilio.account(ACCOUNT, TOKEN).add(NUMBER)
    assert (await account.configure(made["sid"], Webhooks())).webhooks == Webhooks()
    assert twilio.account(ACCOUNT, TOKEN).number(NUMBER)["voice_url"] == ""


async def test_a_number_that_only_contains_it_is_another(twilio, account):
    twilio.account(ACCOUNT, TOKEN).add(NUMBER + "0")
    assert await account.find(NUMBER) is None


async def test_what_answers_in_place_of_the_webhooks(twilio, account):
    there = twilio.account(ACCOUNT, TOKEN)
    there.add(NUMBER, voice_application_sid="AP" + "1" * 32)
    there.add("+13072249664", trunk_sid="TK" + "2" * 32)
    assert (await account.find(NUMBER)).override == "AP" + "1" * 32
    assert (await account.find("+13072249664")).override == "TK" + "2" * 32


async def test_all_numbers_page_after_page(twilio, account):
    there = twilio.account(ACCOUNT, TOKEN)
    made = [there.add(f"+1307{place:07}")["phone_number"] for place in range(2_050)]
    assert await numbers(account) == made
    assert len(twilio.seen) == 3
    assert {one.query["PageSize"] for one in twilio.seen} == {"1000"}


async def test_an_account_sees_its_own(twilio, rest, account):
    other = "AC" + "6" * 32
    twilio.account(other, "another token").add(NUMBER)
    assert await numbers(account) == []
    assert await numbers(rest.account(other, "another token")) == [NUMBER]


async def test_wrong_credentials(twilio, rest):
    for sid, token in ((ACCOUNT, "a wrong one"), ("AC" + "9" * 32, TOKEN)):
        account = rest.account(sid, token)
        for refused in (numbers(account), account.find(NUMBER), account.configure("PN" + "1" * 32, OURS)):
            with pytest.raises(TwilioError, match="refuses the account's credentials") as error:
                await refused
            assert (error.value.http, error.value.code) == (401, 20003)
            assert token not in str(error.value)
    assert len(twilio.seen) == 6  # it is not tried again: it would be refused again


async def test_what_is_not_there(twilio, account):
    with pytest.raises(TwilioError, match="was not found") as error:
        await account.configure("PN" + "1" * 32, OURS)
    assert (error.value.http, error.value.code) == (404, 20404)


async def test_what_twilio_does_not_take(twilio, account):
    made = twilio.account(ACCOUNT, TOKEN).add(NUMBER)
    before = dict(made)
    with pytest.raises(TwilioError, match="VoiceUrl is not valid"):
        await account.configure(made["sid"], Webhooks("nonsense", "POST", "https://v.example/fallback"))
    assert made == before


@pytest.mark.parametrize("trouble", [Trouble(429), Trouble(500), Trouble(503), Trouble(), Trouble(done=True)])
async def test_trouble_that_passes_is_not_noticed(twilio, account, trouble):
    made = twilio.account(ACCOUNT, TOKEN).add(NUMBER)
    twilio.trouble(trouble, times=2)
    assert (await account.configure(made["sid"], OURS)).webhooks == OURS
    twilio.trouble(trouble, times=2)
    assert await numbers(account) == [NUMBER]
    assert len(twilio.seen) == 6


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (Trouble(429), "Too Many Requests"),
        (Trouble(500), "Internal Server Error"),
        (Trouble(), "does not answer"),
    ],
)
async def test_trouble_that_stays_is_told_in_the_end(twilio, account, trouble, told):
    twilio.trouble(trouble, times=100)
    for asked in (numbers(account), account.find(NUMBER), account.configure("PN" + "1" * 32, OURS)):
        twilio.seen.clear()
        with pytest.raises(TwilioError, match=told) as error:
            await asked
        assert error.value.http == trouble.status
        assert 3 <= len(twilio.seen) <= 6  # aiohttp asks again by itself when a connection that was kept is dropped


async def test_retry_after_is_waited_for_when_it_is_short(twilio, account):
    twilio.trouble(Trouble(429, retry_after=1))
    before = time.monotonic()
    assert await account.find(NUMBER) is None
    assert time.monotonic() - before > 0.9


async def test_retry_after_is_left_to_whoever_asked_when_it_is_long(twilio, account):
    twilio.trouble(Trouble(429, retry_after=60))
    with pytest.raises(TwilioError) as error:
        await account.find(NUMBER)
    assert error.value.seconds == 60
    assert len(twilio.seen) == 1


async def test_an_api_that_is_slow_is_given_up(twilio):
    rest = Rest(twilio.origin, seconds=0.1, pauses=())
    try:
        twilio.trouble(Trouble(seconds=5, slow=True))
        with pytest.raises(TwilioError, match="it took too long"):
            await rest.account(ACCOUNT, TOKEN).find(NUMBER)
        assert await rest.account(ACCOUNT, TOKEN).find(NUMBER) is None
    finally:
        await rest.aclose()


async def test_an_api_that_is_not_there():
    rest = Rest("http://127.0.0.1:9", pauses=(0.01,))
    try:
        with pytest.raises(TwilioError, match="does not answer"):
            await rest.account(ACCOUNT, TOKEN).find(NUMBER)
    finally:
        await rest.aclose()


async def test_what_is_no_answer_of_twilios(twilio):
    async def page(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html/>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        rest = Rest(f"http://{host}:{port}")
        try:
            for asked in (rest.account(ACCOUNT, TOKEN).find(NUMBER), numbers(rest.account(ACCOUNT, TOKEN))):
                with pytest.raises(TwilioError, match="not of it"):
                    await asked
        finally:
            await rest.aclose()


async def test_a_call_is_ended_once_or_is_gone(twilio, account):
    call = twilio.account(ACCOUNT, TOKEN).ring(NUMBER, "+13105550142")
    await account.hang_up(call["sid"])
    assert call["status"] == "completed"
    await account.hang_up(call["sid"])
    await account.hang_up("CA" + "1" * 32)
    twilio.trouble(Trouble(400, 21220))
    await account.hang_up(call["sid"])
    twilio.trouble(Trouble(400))
    with pytest.raises(TwilioError):
        await account.hang_up(call["sid"])


async def test_a_call_is_sent_elsewhere_while_it_lives(twilio, account):
    call = twilio.account(ACCOUNT, TOKEN).ring(NUMBER, "+13105550142")
    await account.redirect(call["sid"], "https://v.example/continue")
    assert call["url"] == "https://v.example/continue"
    assert twilio.seen[-1].form == {"Url": "https://v.example/continue", "Method": "POST"}
    await account.hang_up(call["sid"])
    with pytest.raises(TwilioError, match="not in-progress"):
        await account.redirect(call["sid"], "https://v.example/continue")


async def test_many_at_once_and_the_loop_goes_on(twilio, account):
    made = twilio.account(ACCOUNT, TOKEN).add(NUMBER)
    late = []

    async def watch():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(account.configure(made["sid"], OURS) for _ in range(30)))
    watching.cancel()
    assert late


async def test_closed_twice_and_never_used(twilio):
    rest = Rest(twilio.origin)
    await rest.aclose()
    await rest.account(ACCOUNT, TOKEN).find(NUMBER)
    await rest.aclose()
    await rest.aclose()
