"""Recordings of a gateway killed during a call: complete up to the last second."""

import asyncio
import json
import os
import random
import signal
from contextlib import asynccontextmanager

import aiohttp

from tests.support.command_runner import run_vocelio, running_vocelio, wait_until_listening
from tests.support.free_ports import free_ports
from tests.support.running_gateway import CALLER, NUMBER
from vocelio.codecs.wav import MULAW_HEADER_BYTES
from vocelio.gateway import config
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.simulator.caller.script import PlayAudio
from vocelio.gateway.simulator.simulator import TwilioSimulator

CALLER_SPEECH = unintelligible_speech(12.0, random.Random(3))  # noqa: S311 (a sound, no secret)
WAIT_FLOW = {
    "name": "Wait",
    "start": "wait",
    "nodes": {"wait": {"type": "wait", "seconds": 60, "exits": {"next": "bye"}}, "bye": {"type": "hangup"}},
}


@asynccontextmanager
async def running_gateway(folder, environment):
    async with running_vocelio("serve", "--site", str(folder / "site"), cwd=folder, environment=environment) as server:
        await wait_until_listening(environment["PORT"])
        yield server


def make_site(folder):
    (folder / "site" / "flows").mkdir(parents=True)
    site = {
        "tenant": {"id": "harbour", "name": "Harbour Tools", "record_calls": True},
        "numbers": {NUMBER: {"flow": "wait"}},
        "departments": {},
    }
    (folder / "site" / "site.json").write_text(json.dumps(site))
    (folder / "site" / "flows" / "wait.json").write_text(json.dumps(WAIT_FLOW))


async def test_recording_of_a_killed_gateway_lacks_at_most_one_second(tmp_path):
    make_site(tmp_path)
    environment = {"PORT": str(*free_ports()), "VOCELIO_SECRET_KEYS": "a-secret-key-of-this-test"}
    settings = config.load_settings(environment)
    token = settings.platform_tokens[config.SIMULATOR_ACCOUNT_SID]
    origin = f"http://127.0.0.1:{environment['PORT']}"
    async with (
        running_gateway(tmp_path, environment) as server,
        TwilioSimulator(origin, settings.public_url, config.SIMULATOR_ACCOUNT_SID, token) as simulator,
    ):
        step = PlayAudio(audio=CALLER_SPEECH, max_wait_seconds=0.0)
        call_task = asyncio.create_task(simulator.call(NUMBER, CALLER, [step], max_seconds=20))
        await asyncio.sleep(4.2)
        worker = await server.next_worker_pid()
        server.send_signal(signal.SIGKILL)  # the supervisor, which would restart the worker
        os.kill(worker, signal.SIGKILL)
        report = await call_task
    (stream,) = report.streams
    assert stream.closed_by == "lost"
    async with running_gateway(tmp_path, environment):
        code, key, _ = await run_vocelio("key", "create", "--role", "platform", cwd=tmp_path, environment=environment)
        assert code == 0
        headers = {"Authorization": f"Bearer {key.strip()}", "Vocelio-Tenant": "harbour"}
        async with aiohttp.ClientSession(origin, headers=headers) as client:
            (recording,) = (await (await client.get("/v1/recordings")).json())["items"]
            assert (recording["state"], recording["call"]) == ("writing", report.call_sid)
            response = await client.get(f"/v1/recordings/{recording['id']}/audio")
            file = await response.read()
    caller = file[MULAW_HEADER_BYTES::2]
    assert (response.status, response.headers["Content-Type"]) == (200, "audio/wav")
    assert len(caller) / 8000 >= stream.closed_at - stream.opened_at - 1.0
    assert caller.lstrip(b"\xff") in CALLER_SPEECH
