"""What a live call logs, from deep within: whose it is, and no number in full."""

import json

from tests.support.running_gateway import CALLER, NUMBER, running_gateway
from vocelio.gateway.logs import JsonFormatter
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer

BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}


class BrokenSynthesizer(ToneSynthesizer):
    """Has a defect, and tells more than it should."""

    async def speak(self, text, voice, tenant=""):
        raise RuntimeError(f"cannot speak to {CALLER}")
        yield b""


async def test_internal_error_is_logged_with_call_and_tenant(caplog):
    caplog.handler.setFormatter(JsonFormatter())
    async with running_gateway(BYE, ScriptedRecognizer(), BrokenSynthesizer()) as running:
        report = await running.call()
    lines = list(map(json.loads, caplog.text.splitlines()))
    broken = [line for line in lines if "cannot speak to" in line.get("error", "")]
    assert broken
    assert {(line["call"], line["tenant"]) for line in broken} == {(report.call_sid, "harbour")}
    assert CALLER not in caplog.text
    assert NUMBER not in caplog.text
