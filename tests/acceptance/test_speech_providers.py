"""Whole calls through the real SDKs of the speech providers, against emulators that inject faults."""

import asyncio
import re
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from tests.emulators.azure import AzureEmulator
from tests.emulators.elevenlabs import ElevenLabsEmulator
from tests.emulators.fault_plan import FaultPlan
from tests.support.running_gateway import running_gateway
from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings, ElevenLabsSettings
from vocelio.gateway.simulator.caller.script import SimulatedCaller, Speak
from vocelio.gateway.speech import fallback_synthesizer
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.azure.synthesizer import AzureSynthesizer
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.providers import SpeechServices

RATES = {"azure": 80_000, "elevenlabs": 350_000, "local": 0}  # micro-USD a minute
PROVIDER_FAULTS = ("refuse", "401", "429", "500", "silent", "stall", "drip", "garbage", "abrupt", "slow_close")
TOLERATED_FAULTS = ("stall", "drip", "slow_close")  # may end before a timeout of the gateway notices them
VOICES = {
    "azure": {"tier": "azure", "name": "en-US-AvaNeural", "fallbacks": [{"tier": "local", "name": "en-us"}]},
    "elevenlabs": {"tier": "elevenlabs", "name": "21m00Tcm4TlvDq8ikWAM", "fallbacks": [{"tier": "local"}]},
}
CALLER_VOICE = Voice(name="en-us+f3")


def make_flow(tier):
    """Ask a question and confirm the answer."""
    return {
        "name": "Short",
        "voice": VOICES[tier],
        "start": "ask",
        "nodes": {
            "ask": {
                "type": "collect",
                "prompt": "Sales or billing?",
                "expect": "choice",
                "choices": {
                    "sales": {"phrases": ["sales please"], "key": "1"},
                    "billing": {"phrases": ["my invoice"], "key": "2"},
                },
                "save_as": "wish",
                "retries": 0,
                "exits": {"sales": "bye", "billing": "bye", "no_input": "bye", "no_match": "bye"},
            },
            "bye": {"type": "hangup", "text": "You want {{ wish }}. Thank you for calling, and goodbye."},
        },
    }


@asynccontextmanager
async def emulated_provider(
    tier, recognizer_backend, synthesizer_backend, faults=None, key="a-key", vocabulary=("sales please", "my invoice")
):
    """The emulator of a tier's provider, and its recognizer and synthesizer with that key."""
    if tier == "azure":
        async with AzureEmulator(
            recognizer_backend, synthesizer_backend, vocabulary, key="a-key", fault_plan=faults
        ) as emulator:
            account = AzureSettings(key=key, host=emulator.host)
            yield emulator, AzureRecognizer(account), AzureSynthesizer(account)
    else:
        async with ElevenLabsEmulator(recognizer_backend, synthesizer_backend, vocabulary, key="a-key") as emulator:
            emulator.orders = faults or FaultPlan()
            account = ElevenLabsSettings(key, emulator.base_url)
            yield emulator, ElevenLabsRecognizer(account), ElevenLabsSynthesizer(account)


class SharedService:
    """A recognizer or synthesizer shared by several gateways, which must not close it."""

    def __init__(self, shared):
        self.open, self.speak = getattr(shared, "open", None), getattr(shared, "speak", None)

    async def start(self):
        """Already started."""

    async def aclose(self):
        """Stays open."""


@asynccontextmanager
async def served_tier(tier, offline, faults=None, key="a-key"):
    """A gateway whose calls use that tier, with local speech as the fallback."""
    async with AsyncExitStack() as stack:
        emulator, recognizer, synthesizer = await stack.enter_async_context(
            emulated_provider(tier, *offline, faults, key)
        )
        speech = SpeechServices(
            FallbackRecognizer({tier: recognizer, "local": SharedService(offline[0])}),
            FallbackSynthesizer({tier: synthesizer, "local": SharedService(offline[1])}),
        )
        running = await stack.enter_async_context(running_gateway(make_flow(tier), speech=speech))
        yield emulator, running, speech


def caller_silences_seconds(running):
    """The silences in seconds while the caller waited: before the first prompt, before replies, within prompts."""
    started = [event.occurred_at for event in running.bus.events if event.type == "call.started"]
    first = next(event.occurred_at for event in running.bus.events if event.type == "prompt.started")
    answers = [event["latency_ms"] / 1000 for event in running.bus.data_of("prompt.started") if "latency_ms" in event]
    late = [event["playout_gap_ms"] / 1000 for event in running.bus.data_of("prompt.finished")]
    return [(first - started[0]) / 1e6, *answers, *late]


def transcripts(running):
    """The transcripts in lower case without punctuation, which differs between providers."""
    return [re.sub("[^a-z ]", "", event["text"].lower()) for event in running.bus.data_of("transcript.final")]


async def speak_to(running, text="sales please"):
    async with aclosing(LocalSynthesizer()) as voice:
        return await running.call(SimulatedCaller([Speak(text)], voice, CALLER_VOICE))


@pytest.mark.parametrize("tier", ["azure", "elevenlabs"])
async def test_call_at_a_tier_is_recognized_and_billed(tier, offline_speech):
    async with served_tier(tier, offline_speech) as (emulator, running, _):
        report = await speak_to(running)
    assert transcripts(running) == ["sales please"]
    assert [spoken.text for spoken in emulator.spoken] == [
        "Sales or billing?",
        "You want sales.",
        "Thank you for calling, and goodbye.",
    ]
    (ended,) = running.bus.data_of("call.ended")
    assert (ended["outcome"], ended["tier"], report.errors) == ("completed", tier, ())
    assert ended["cost_micro_usd"] == pytest.approx(ended["billed_seconds"] / 60 * RATES[tier], abs=1)
    assert [part["tier"] for part in running.bus.data_of("cost.updated")[0]["segments"]] == [tier]
    (stored,) = running.call_store.calls.values()
    usage = stored.provider_usage[tier]
    assert (usage.syntheses, usage.characters) == (3, 17 + 15 + 35)
    assert (usage.first_byte_count, usage.recognitions, usage.failures) == (3, 1, 0)
    assert 500 < usage.recognized_ms < 4000


@pytest.mark.parametrize("service", ["recognition", "synthesis"])
@pytest.mark.parametrize("tier", ["azure", "elevenlabs"])
async def test_every_fault_is_covered_by_the_fallback(tier, service, offline_speech):
    slots = asyncio.Semaphore(3)  # concurrent calls: as many as one core can recognize

    async def item(fault):
        async with slots, served_tier(tier, offline_speech, FaultPlan(**{service: fault})) as (_, running, speech):
            report = await speak_to(running)
            (status,) = [item for item in speech.status() if (item.provider, item.service) == (tier, service)]
        return fault, running, report, status

    for fault, running, report, status in await asyncio.gather(*map(item, PROVIDER_FAULTS)):
        (ended,) = running.bus.data_of("call.ended")
        assert (ended["outcome"], report.errors) == ("completed", ()), fault
        assert max(caller_silences_seconds(running)) < min(4.0, fallback_synthesizer.MAX_LAG_SECONDS + 0.7 + 1.5), (
            fault,
            caller_silences_seconds(running),
        )
        assert transcripts(running) == ["sales please"], fault
        assert running.bus.data_of("prompt.started")[-1]["text"].startswith("You want sales."), fault
        failed = {(event["provider"], event["service"]) for event in running.bus.data_of("speech.provider_failed")}
        assert failed <= {(tier, service)}, fault
        assert status.failures or fault in TOLERATED_FAULTS, (fault, status)


@pytest.mark.parametrize("tier", ["azure", "elevenlabs"])
async def test_rejected_key_is_logged_and_covered_by_the_fallback(tier, offline_speech, caplog):
    async with served_tier(tier, offline_speech, key="another-key") as (emulator, running, _):
        await speak_to(running)
    assert emulator.spoken == []
    assert running.bus.data_of("call.ended")[0]["outcome"] == "completed"
    assert [part["tier"] for part in running.bus.data_of("cost.updated")[0]["segments"]] == ["local"]
    assert "another-key" not in caplog.text
    assert "key" in caplog.text
