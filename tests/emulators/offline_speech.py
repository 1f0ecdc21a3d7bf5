"""Local recognizer and synthesizer used by the emulated services."""

from contextlib import asynccontextmanager

from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer


@asynccontextmanager
async def start_offline_speech():
    """Start and yield both."""
    recognizer, synthesizer = LocalRecognizer(workers=2), LocalSynthesizer()
    await recognizer.start()
    try:
        yield recognizer, synthesizer
    finally:
        await recognizer.aclose()
        await synthesizer.aclose()
