"""A gateway that is killed in the middle of a call: what was recorded is there, up to the last second."""

import asyncio
import json
import random
import signal
from contextlib import asynccontextmanager

import aiohttp

from tests.commands import listens, started, vocelio
from tests.gateway import CALLER, NUMBER
from tests.ports import unused
from vocelio.codecs.wav import MULAW_HEADER
from vocelio.gateway import config
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.simulator.caller.script import Sound
from vocelio.gateway.simulator.simulator import Carrier

SPEECH = babble(12.0, random.Random(3))  # noqa: S311 (a sound, no secret)
WAIT = {
    "name": "Wait",
    "start": "wait",
    "nodes": {"wait": {"type": "wait", "seconds": 60, "exits": {"next": "bye"}}, "bye": {"type": "hangup"}},
}


@asynccontextmanager
async def serving(folder, environment):
    async with started("serve", "--site", str(folder / "site"), cwd=folder, environment=environment) as server:
        await listens(environment["PORT"])
        yield server


def make_site(folder):
    (folder / "site" / "flows").mkdir(parents=True)
    site = {
        "tenant": {"id": "harbour", "name": "Harbour Tools", "record_calls": True},
        "numbers": {NUMBER: {"flow": "wait"}},
        "departments": {},
    }
    (folder / "site" / "site.json").write_text(json.dumps(site))
    (folder / "site" / "flows" / "wait.json").write_text(json.dumps(WAIT))


async def test_a_killed_gateway_has_kept_all_but_the_last_second(tmp_path):
    make_site(tmp_path)
    environment = {"PORT": str(*unused()), "VOCELIO_SECRET_KEY": "a-secret-key-of-this-test"}
    settings = config.read(environment)
    token = settings.tokens[config.SIMULATOR_ACCOUNT]
    origin = f"http://127.0.0.1:{environment['PORT']}"
    async with (
        serving(tmp_path, environment) as server,
        Carrier(origin, settings.public_url, config.SIMULATOR_ACCOUNT, token) as carrier,
    ):
        step = Sound(audio=SPEECH, longest_wait=0.0)
        calling = asyncio.create_task(carrier.call(NUMBER, CALLER, [step], longest=20))
        await asyncio.sleep(4.2)
        server.send_signal(signal.SIGKILL)
        report = await calling
    (stream,) = report.streams
    assert stream.closed_by == "lost"
    async with serving(tmp_path, environment):
        code, key, _ = await vocelio("key", "create", "--role", "platform", cwd=tmp_path, environment=environment)
        assert code == 0
        headers = {"Authorization": f"Bearer {key.strip()}", "Vocelio-Tenant": "harbour"}
        async with aiohttp.ClientSession(origin, headers=headers) as client:
            (shown,) = (await (await client.get("/v1/recordings")).json())["items"]
            assert (shown["state"], shown["call"]) == ("writing", report.call_sid)
            answer = await client.get(f"/v1/recordings/{shown['id']}/audio")
            file = await answer.read()
    caller = file[MULAW_HEADER::2]
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert len(caller) / 8000 >= stream.closed - stream.opened - 1.0
    assert caller.lstrip(b"\xff") in SPEECH
