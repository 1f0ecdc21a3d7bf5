"""Whole calls with real speech: the caller really speaks, the gateway really hears it."""

import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.emulators.offline_speech import start_offline_speech as ear_and_mouth
from tests.support.running_gateway import running_gateway
from vocelio.engine.voice import Voice
from vocelio.gateway.simulator.caller.script import SimulatedCaller
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def front_desk():
    """The example that the demo runs."""
    return json.loads((EXAMPLES / "front-desk.json").read_text())


@pytest.fixture
async def make_caller():
    """Makes a caller of steps, with a voice of their own."""
    synthesizer = LocalSynthesizer()
    yield lambda *steps: SimulatedCaller(steps, synthesizer, Voice(name="en-us+f3"))
    await synthesizer.aclose()


@pytest.fixture
async def offline_speech():
    """What emulated services hear and speak with, and what stands in for them."""
    async with ear_and_mouth() as both:
        yield both


@pytest.fixture
def serve_gateway():
    """A gateway with offline speech."""

    @asynccontextmanager
    async def serve(flow, **options):
        async with running_gateway(flow, LocalRecognizer(workers=1), LocalSynthesizer(), **options) as running:
            yield running

    return serve
