"""The offline ear and mouth that an emulated service has."""

from contextlib import asynccontextmanager

from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer


@asynccontextmanager
async def start_offline_speech():
    """Both, started."""
    ear, mouth = LocalRecognizer(workers=2), LocalSynthesizer()
    await ear.start()
    try:
        yield ear, mouth
    finally:
        await ear.aclose()
        await mouth.aclose()
