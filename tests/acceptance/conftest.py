"""Whole calls with real speech: the caller's audio is synthesized and recognized."""

import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.emulators.offline_speech import start_offline_speech
from tests.support.running_gateway import running_gateway
from vocelio.engine.voice import Voice
from vocelio.gateway.simulator.caller.script import SimulatedCaller
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def front_desk():
    """The flow of the demo."""
    return json.loads((EXAMPLES / "front-desk.json").read_text())


@pytest.fixture
async def make_caller():
    """Factory of callers that perform steps, with their own synthesizer."""
    synthesizer = LocalSynthesizer()
    yield lambda *steps: SimulatedCaller(steps, synthesizer, Voice(name="en-us+f3"))
    await synthesizer.aclose()


@pytest.fixture
async def offline_speech():
    """Offline recognizer and synthesizer, shared by emulated providers and the fallback."""
    async with start_offline_speech() as speech:
        yield speech


@pytest.fixture
def serve_gateway():
    """Factory of gateways with offline speech."""

    @asynccontextmanager
    async def serve(flow, **options):
        async with running_gateway(flow, LocalRecognizer(workers=1), LocalSynthesizer(), **options) as running:
            yield running

    return serve
