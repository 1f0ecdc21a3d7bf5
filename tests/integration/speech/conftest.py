"""Offline speech behind the emulated services."""

from importlib import import_module

import pytest
import pytest_asyncio

from tests.emulators.offline_speech import start_offline_speech


@pytest.fixture(scope="session", autouse=True)
def _import_sdks():
    """Import both SDKs outside of any test's time: it takes 1 s, 3 s on a busy machine."""
    for sdk in ("azure.cognitiveservices.speech", "vocelio.gateway.speech.elevenlabs.client"):
        import_module(sdk)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def offline_speech():
    """A recognizer and a synthesizer for all tests of a module."""
    async with start_offline_speech() as both:
        yield both
