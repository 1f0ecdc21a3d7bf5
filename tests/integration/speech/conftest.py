"""What the services of these tests hear and speak with."""

from importlib import import_module

import pytest
import pytest_asyncio

from tests.emulators.offline_speech import start_offline_speech


@pytest.fixture(scope="session", autouse=True)
def _import_sdks():
    """Import both SDKs: a second of work, three on a busy machine, that is in no test's time."""
    for sdk in ("azure.cognitiveservices.speech", "vocelio.gateway.speech.elevenlabs.client"):
        import_module(sdk)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def offline_speech():
    """An ear and a mouth, for all tests of a module."""
    async with start_offline_speech() as both:
        yield both
