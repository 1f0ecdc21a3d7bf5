"""Fallback recognizer: which provider hears an utterance after failures, and that it hears all of it."""

import asyncio
from contextlib import aclosing

import pytest

from tests.support.fake_providers import FaultyRecognizer, ScriptedSynthesizer
from tests.support.virtual_time import in_virtual_time
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.fallback_recognizer import FINAL_TIMEOUT_SECONDS, MAX_UTTERANCE_BYTES, FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    FirstAudio,
    ProviderFailure,
    RecognitionHints,
    RecognitionUsage,
    SpeechError,
    Transcript,
)
from vocelio.gateway.speech.providers import SpeechServices

MENU_HINTS = RecognitionHints(("sales", "billing"))
FRAME_AUDIO = b"\x7e" * 160


class RecognitionDriver:
    """Recognizes one utterance as a call does, and records the callbacks."""

    def __init__(self, recognizer, hints=MENU_HINTS, tier="elevenlabs"):
        self.loop = asyncio.get_running_loop()
        self.texts, self.errors, self.events = [], [], []
        self.transcript_at = None
        self.recognition = recognizer.open(tier, hints, self._on_transcript, self.errors.append, self.events.append)

    def _on_transcript(self, transcript):
        self.texts.append(transcript.text)
        self.transcript_at = self.loop.time()

    async def feed(self, frames=50):
        for _ in range(frames):
            self.recognition.feed(FRAME_AUDIO)
        self.recognition.finish()
        finished = self.loop.time()
        await asyncio.sleep(6)
        return None if self.transcript_at is None else self.transcript_at - finished


def make_recognizer(*recognizers, tiers=("elevenlabs", "azure", "local")):
    return FallbackRecognizer(dict(zip(tiers, recognizers, strict=False)))


@in_virtual_time
async def test_only_the_first_provider_gets_the_audio():
    primary, secondary = FaultyRecognizer("sales"), FaultyRecognizer("billing")
    driver = RecognitionDriver(make_recognizer(primary, secondary))
    assert await driver.feed() == pytest.approx(0.1)
    assert (driver.texts, secondary.opened) == (["sales"], [])
    assert driver.events == [RecognitionUsage("elevenlabs", 1.0, pytest.approx(0.1))]
    assert primary.opened[0].closed


@pytest.mark.parametrize(
    "fault", [SpeechError("open"), SpeechError("feed"), SpeechError("end"), AuthenticationFailed("end"), "..."]
)
@in_virtual_time
async def test_next_provider_gets_the_whole_utterance_after_a_failure(fault):
    primary, secondary = FaultyRecognizer(fault), FaultyRecognizer("sales")
    recognizer = make_recognizer(primary, secondary)
    driver = RecognitionDriver(recognizer)
    latency = await driver.feed()
    assert driver.texts == ["sales"]
    assert secondary.opened[0].audio == FRAME_AUDIO * 50
    assert latency <= FINAL_TIMEOUT_SECONDS + 0.2
    assert [(event.provider, event.service) for event in driver.events if isinstance(event, ProviderFailure)] == [
        ("elevenlabs", "recognition")
    ]
    assert all(utterance.closed for utterance in primary.opened[:1] + secondary.opened), "a probe may be open"
    await recognizer.aclose()


@in_virtual_time
async def test_late_final_of_a_timed_out_provider_is_ignored():
    primary, secondary = FaultyRecognizer("..."), FaultyRecognizer("sales")
    driver = RecognitionDriver(make_recognizer(primary, secondary))
    await driver.feed()
    primary.opened[0].on_transcript(Transcript("billing", 0.9, True))
    primary.opened[0].on_error(SpeechError("late"))
    assert (driver.texts, driver.errors) == (["sales"], [])


@in_virtual_time
async def test_error_is_reported_once_when_all_providers_fail():
    driver = RecognitionDriver(make_recognizer(FaultyRecognizer("..."), FaultyRecognizer(SpeechError("end"))))
    await driver.feed()
    assert (driver.texts, [str(error) for error in driver.errors]) == ([], ["end"])


@in_virtual_time
async def test_no_callback_runs_inside_open_or_after_close():
    driver = RecognitionDriver(make_recognizer(FaultyRecognizer(SpeechError("open"))))
    assert driver.errors == []
    driver.recognition.close()
    await asyncio.sleep(1)
    assert driver.errors == []


@in_virtual_time
async def test_local_recognizer_is_not_used_for_free_text():
    local = FaultyRecognizer("sales")
    driver = RecognitionDriver(
        make_recognizer(FaultyRecognizer(SpeechError("end")), FaultyRecognizer(SpeechError("end")), local),
        RecognitionHints(()),
    )
    await driver.feed()
    assert (len(driver.errors), local.opened) == (1, [])


@in_virtual_time
async def test_utterance_over_the_limit_fails():
    driver = RecognitionDriver(make_recognizer(FaultyRecognizer("sales")))
    driver.recognition.feed(bytes(MAX_UTTERANCE_BYTES + 1))
    await asyncio.sleep(0)
    assert len(driver.errors) == 1


@in_virtual_time
async def test_open_breaker_excludes_a_recognizer_until_a_probe_succeeds():
    primary, secondary = FaultyRecognizer(SpeechError("end")), FaultyRecognizer("sales")
    recognizer = make_recognizer(primary, secondary)
    for _ in range(3):
        await RecognitionDriver(recognizer).feed(1)
        await asyncio.sleep(0)
    assert recognizer.status()[0].state in ("open", "half_open")
    count = len(primary.opened)
    await RecognitionDriver(recognizer).feed(1)
    assert recognizer.status()[0].state != "closed"
    primary.behaviors = ["sales"]
    await asyncio.sleep(60)
    assert recognizer.status()[0].state == "closed"
    assert len(primary.opened) > count
    await RecognitionDriver(recognizer).feed(1)
    assert primary.opened[-1].audio == FRAME_AUDIO
    await recognizer.aclose()


@in_virtual_time
async def test_each_tier_uses_its_own_provider():
    primary, azure, local = FaultyRecognizer("a"), FaultyRecognizer("b"), FaultyRecognizer("c")
    recognizer = make_recognizer(primary, azure, local)
    for tier, text in (("elevenlabs", "a"), ("azure", "b"), ("local", "c")):
        driver = RecognitionDriver(recognizer, tier=tier)
        await driver.feed()
        assert driver.texts == [text]


@in_virtual_time
async def test_recognition_timeout_is_reported_and_does_not_affect_other_calls():
    recognizer, synthesizer = (
        make_recognizer(FaultyRecognizer("..."), FaultyRecognizer("sales")),
        FallbackSynthesizer({"elevenlabs": ScriptedSynthesizer(), "azure": ScriptedSynthesizer()}),
    )
    speech = SpeechServices(recognizer, synthesizer)
    driver = RecognitionDriver(recognizer)
    assert await driver.feed() < FINAL_TIMEOUT_SECONDS + 0.2
    (failure,) = [event for event in driver.events if isinstance(event, ProviderFailure)]
    assert (failure.provider, failure.timed_out) == ("elevenlabs", True)
    synthesis_events = []
    async with aclosing(
        synthesizer.speak("harbour", "Hello.", Voice("elevenlabs", "rachel"), synthesis_events.append)
    ) as chunks:
        assert [chunk async for chunk in chunks]
    assert FirstAudio("elevenlabs") in synthesis_events
    await speech.aclose()


@pytest.mark.parametrize(
    ("hints", "expected_text"),
    [
        (MENU_HINTS, "local"),
        (RecognitionHints(("sales",), "en-GB"), "local"),
        (RecognitionHints(("Verkauf", "Rechnung"), "de-DE"), None),
        (RecognitionHints(("销售",), "zh-CN"), None),
        (RecognitionHints(()), None),
    ],
)
@in_virtual_time
async def test_local_recognizer_is_a_fallback_only_for_supported_hints(hints, expected_text):
    down = SpeechError("end")
    recognizer = make_recognizer(FaultyRecognizer(down), FaultyRecognizer(down), FaultyRecognizer("local"))
    driver = RecognitionDriver(recognizer, hints)
    await driver.feed()
    assert driver.texts == [expected_text] * bool(expected_text)
    assert len(driver.errors) == (not expected_text), "the call offers the keys then"
    await recognizer.aclose()


@in_virtual_time
async def test_local_recognizer_is_used_when_it_is_the_only_one():
    recognizer = make_recognizer(FaultyRecognizer("verkauf"), tiers=("local",))
    driver = RecognitionDriver(recognizer, RecognitionHints(("Verkauf",), "de-DE"))
    await driver.feed()
    assert driver.texts == ["verkauf"]
    await recognizer.aclose()
