"""The media WebSocket on a real server: access, protocol violations, cleanup."""

import asyncio
import gc
import json
import re
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.running_gateway import ACCOUNT, CALLER, NUMBER, PUBLIC_URL, TOKEN, running_gateway
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer

TALKING = {
    "name": "Talk",
    "start": "talk",
    "nodes": {"talk": {"type": "say", "barge_in": False, "text": "This is a long announcement. " * 3}},
}
CALL, STREAM = "CA" + "7" * 32, "MZ" + "8" * 32
PATH = f"/twilio/media/{ACCOUNT}"


@pytest.fixture
async def live_gateway():
    async with running_gateway(TALKING, ScriptedRecognizer(), ToneSynthesizer()) as running:
        yield running


async def stream_token(served, call=CALL):
    """Request the call's stream token as Twilio does."""
    form = {"AccountSid": ACCOUNT, "CallSid": call, "From": CALLER, "To": NUMBER}
    headers = Signer(TOKEN).sign_form(f"{PUBLIC_URL}/twilio/voice", form)
    url = f"{served.origin}/twilio/voice"
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
        return re.search('value="([^"]+)"', await answer.text()).group(1)


def open_socket(served, headers=None):
    """Open a signed socket."""
    headers = Signer(TOKEN).sign_upgrade(f"wss://gateway.example{PATH}") if headers is None else headers
    url = served.origin.replace("http", "ws") + PATH
    options = {"compression": None, "proxy": None, "ping_interval": None}
    # With a bound, audio that a test does not read would keep the client from reading the answer to its close frame.
    return connect(url, additional_headers=headers, max_queue=None, **options)


def start_message(with_token, call=CALL):
    facts = {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": call,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": with_token},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": facts})


CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


def media_message(sequence):
    body = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": "/////w=="}
    return json.dumps({"event": "media", "sequenceNumber": str(sequence), "streamSid": STREAM, "media": body})


@asynccontextmanager
async def started_stream(served, call=CALL):
    """Open a socket whose call has started and is playing."""
    async with open_socket(served) as socket:
        await socket.send(CONNECTED)
        await socket.send(start_message(await stream_token(served, call), call))
        async with asyncio.timeout(5):
            while json.loads(await socket.recv())["event"] != "media":
                pass
        yield socket


async def wait_close_code(socket):
    """Wait for the gateway's close code."""
    async with asyncio.timeout(5):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code


@pytest.mark.parametrize("headers", [{}, {"X-Twilio-Signature": "wrong"}])
async def test_unsigned_upgrade_is_rejected(live_gateway, headers):
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(live_gateway, headers):
            pass
    assert refused.value.response.status_code == 403
    assert live_gateway.bus.events == []


@pytest.mark.parametrize("kind", ["wrong", "reused"])
async def test_invalid_stream_token_is_rejected(live_gateway, kind):
    good = await stream_token(live_gateway)
    async with open_socket(live_gateway) as first:
        if kind == "reused":
            await first.send(CONNECTED)
            await first.send(start_message(good))
            await first.recv()
        count = len(live_gateway.bus.events)
        async with open_socket(live_gateway) as socket:
            await socket.send(CONNECTED)
            await socket.send(start_message(good if kind == "reused" else "made up"))
            assert await wait_close_code(socket) == 1008
        assert len(live_gateway.bus.events) == count


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1007),
        ('{"event":"media","sequenceNumber":"9","media":{"payload":"%%%"}}', 1007),
        (media_message(1), 1002),
        (CONNECTED, 1002),
        (b"\x00\x01", 1003),
        ('{"event":"media","padding":"' + "x" * 100_000 + '"}', 1009),
    ],
    ids=["JSON", "base64", "out of order", "out of place", "binary", "oversized"],
)
async def test_protocol_violation_does_not_affect_other_calls(live_gateway, message, code):
    neighbour = asyncio.create_task(live_gateway.call())
    async with started_stream(live_gateway) as socket:
        await socket.send(message)
        assert await wait_close_code(socket) == code
    report = await neighbour
    assert report.streams[0].closed_by == "server"
    assert report.errors == ()
    assert report.underruns == 0


async def test_broken_socket_leaves_no_resources(live_gateway):
    async def cut(call):
        async with live_gateway.bus.subscribe("harbour") as watcher:
            async with started_stream(live_gateway, call) as socket:
                socket.transport.abort()
            async with asyncio.timeout(8):
                while (event := await watcher.get()).type != "call.ended":
                    pass
            assert event.data["outcome"] == "lost"

    await cut("CA" + "1" * 32)  # once before, so that what is made once for all calls is there
    before = _resources_in_use()
    await cut("CA" + "2" * 32)
    assert _resources_in_use() == before


def _resources_in_use():
    gc.collect()
    names = sorted(task.get_name() for task in asyncio.all_tasks() if not task.get_name().startswith("Task-"))
    unnamed = sum(task.get_name().startswith("Task-") for task in asyncio.all_tasks())
    return names, unnamed, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("started", [False, True], ids=["before start", "after start"])
async def test_flood_of_control_frames_closes_the_socket(live_gateway, started):
    async with started_stream(live_gateway) if started else open_socket(live_gateway) as socket:
        with suppress(ConnectionClosed):
            for _ in range(2_000):
                await socket.pong(b"x" * 100)
        with suppress(ConnectionClosed):
            async with asyncio.timeout(5):
                while True:
                    await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1008, "too many control frames")


async def post_signed(served, path, call=CALL, **fields):
    """Post a form to the path as Twilio does, or as somebody who has recorded it; return the response's text."""
    form = {"AccountSid": ACCOUNT, "CallSid": call, "From": CALLER, "To": NUMBER, **fields}
    headers = Signer(TOKEN).sign_form(PUBLIC_URL + path, form)
    async with aiohttp.ClientSession() as session, session.post(served.origin + path, data=form, headers=headers) as r:
        return await r.text()


async def expect_audio(socket):
    async with asyncio.timeout(5):
        while json.loads(await socket.recv())["event"] != "media":
            pass


REPLAYED = [
    ("/twilio/voice", {}),
    ("/twilio/dialed?dial_attempt=0&transfer=earlier", {"DialCallStatus": "busy"}),
    ("/twilio/fallback", {"ErrorUrl": f"{PUBLIC_URL}/twilio/voice", "ErrorCode": "11200"}),
]


@pytest.mark.parametrize(("path", "fields"), REPLAYED, ids=["voice", "dialed", "fallback"])
async def test_replayed_webhook_does_not_get_the_token_of_a_live_stream(live_gateway, path, fields):
    async with started_stream(live_gateway) as socket:
        text = await post_signed(live_gateway, path, **fields)
        assert "token" not in text
        assert re.search(">([^<]+)</Redirect>", text)[1].startswith(f"{PUBLIC_URL}/twilio/continue?generation=0&")
        await expect_audio(socket)  # the caller's stream goes on


async def test_replayed_continuation_does_not_get_the_token_of_a_later_stream(live_gateway):
    recorded = "/twilio/continue?generation=0&stream_attempt=0"
    async with started_stream(live_gateway):
        pass
    token = re.search('value="([^"]+)"', await post_signed(live_gateway, recorded))[1]
    async with open_socket(live_gateway) as socket:
        await socket.send(CONNECTED)
        await socket.send(start_message(token))
        await expect_audio(socket)
        assert "token" not in await post_signed(live_gateway, recorded)
        await expect_audio(socket)


@pytest.mark.parametrize(("path", "fields"), REPLAYED, ids=["voice", "dialed", "fallback"])
async def test_twilio_itself_gets_the_next_stream_by_one_more_request(live_gateway, path, fields):
    async with started_stream(live_gateway):
        pass
    text = await post_signed(live_gateway, path, **fields)
    following = re.search(">([^<]+)</Redirect>", text)[1].replace("&amp;", "&").removeprefix(PUBLIC_URL)
    assert "token" in await post_signed(live_gateway, following)
