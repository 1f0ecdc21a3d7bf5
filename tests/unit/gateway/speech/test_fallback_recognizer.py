"""Ears: who hears an utterance when somebody fails, and that all of it is heard."""

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
    """One utterance, as a call has it."""

    def __init__(self, ears, expectation=MENU_HINTS, tier="elevenlabs"):
        self.loop = asyncio.get_running_loop()
        self.texts, self.errors, self.told = [], [], []
        self.at = None
        self.recognition = ears.open(tier, expectation, self._on_transcript, self.errors.append, self.told.append)

    def _on_transcript(self, heard):
        self.texts.append(heard.text)
        self.at = self.loop.time()

    async def feed(self, frames=50):
        for _ in range(frames):
            self.recognition.feed(FRAME_AUDIO)
        self.recognition.finish()
        finished = self.loop.time()
        await asyncio.sleep(6)
        return None if self.at is None else self.at - finished


def make_recognizer(*hearers, tiers=("elevenlabs", "azure", "local")):
    return FallbackRecognizer(dict(zip(tiers, hearers, strict=False)))


@in_virtual_time
async def test_the_first_hears_and_the_others_do_not():
    best, other = FaultyRecognizer("sales"), FaultyRecognizer("billing")
    asker = RecognitionDriver(make_recognizer(best, other))
    assert await asker.feed() == pytest.approx(0.1)
    assert (asker.texts, other.opened) == (["sales"], [])
    assert asker.told == [RecognitionUsage("elevenlabs", 1.0, pytest.approx(0.1))]
    assert best.opened[0].closed


@pytest.mark.parametrize(
    "fault", [SpeechError("open"), SpeechError("feed"), SpeechError("end"), AuthenticationFailed("end"), "..."]
)
@in_virtual_time
async def test_the_next_hears_all_of_it(fault):
    best, other = FaultyRecognizer(fault), FaultyRecognizer("sales")
    made = make_recognizer(best, other)
    asker = RecognitionDriver(made)
    took = await asker.feed()
    assert asker.texts == ["sales"]
    assert other.opened[0].sound == FRAME_AUDIO * 50
    assert took <= FINAL_TIMEOUT_SECONDS + 0.2
    assert [(fact.provider, fact.service) for fact in asker.told if isinstance(fact, ProviderFailure)] == [
        ("elevenlabs", "recognition")
    ]
    assert all(utterance.closed for utterance in best.opened[:1] + other.opened), "a probe may be open"
    await made.aclose()


@in_virtual_time
async def test_one_that_is_late_is_not_heard_any_more():
    best, other = FaultyRecognizer("..."), FaultyRecognizer("sales")
    asker = RecognitionDriver(make_recognizer(best, other))
    await asker.feed()
    best.opened[0].heard(Transcript("billing", 0.9, True))
    best.opened[0].failed(SpeechError("late"))
    assert (asker.texts, asker.errors) == (["sales"], [])


@in_virtual_time
async def test_when_nobody_hears_the_call_is_told_once():
    asker = RecognitionDriver(make_recognizer(FaultyRecognizer("..."), FaultyRecognizer(SpeechError("end"))))
    await asker.feed()
    assert (asker.texts, [str(error) for error in asker.errors]) == ([], ["end"])


@in_virtual_time
async def test_nothing_is_told_from_inside_open_and_nothing_after_close():
    asker = RecognitionDriver(make_recognizer(FaultyRecognizer(SpeechError("open"))))
    assert asker.errors == []
    asker.recognition.close()
    await asyncio.sleep(1)
    assert asker.errors == []


@in_virtual_time
async def test_a_recogniser_of_phrases_is_no_help_with_free_text():
    local = FaultyRecognizer("sales")
    asker = RecognitionDriver(
        make_recognizer(FaultyRecognizer(SpeechError("end")), FaultyRecognizer(SpeechError("end")), local),
        RecognitionHints(()),
    )
    await asker.feed()
    assert (len(asker.errors), local.opened) == (1, [])


@in_virtual_time
async def test_an_endless_utterance_fails():
    asker = RecognitionDriver(make_recognizer(FaultyRecognizer("sales")))
    asker.recognition.feed(bytes(MAX_UTTERANCE_BYTES + 1))
    await asyncio.sleep(0)
    assert len(asker.errors) == 1


@in_virtual_time
async def test_a_recogniser_that_keeps_failing_is_left_alone_until_a_probe_goes_well():
    best, other = FaultyRecognizer(SpeechError("end")), FaultyRecognizer("sales")
    made = make_recognizer(best, other)
    for _ in range(3):
        await RecognitionDriver(made).feed(1)
        await asyncio.sleep(0)
    assert made.status()[0].state in ("open", "half_open")
    count = len(best.opened)
    await RecognitionDriver(made).feed(1)
    assert made.status()[0].state != "closed"
    best.behaviors = ["sales"]
    await asyncio.sleep(60)
    assert made.status()[0].state == "closed"
    assert len(best.opened) > count
    await RecognitionDriver(made).feed(1)
    assert best.opened[-1].sound == FRAME_AUDIO
    await made.aclose()


@in_virtual_time
async def test_a_call_of_another_tier_asks_its_own_provider():
    best, azure, local = FaultyRecognizer("a"), FaultyRecognizer("b"), FaultyRecognizer("c")
    made = make_recognizer(best, azure, local)
    for tier, text in (("elevenlabs", "a"), ("azure", "b"), ("local", "c")):
        asker = RecognitionDriver(made, tier=tier)
        await asker.feed()
        assert asker.texts == [text]


@in_virtual_time
async def test_one_that_is_late_is_told_and_its_voice_is_not_kept_from_other_calls():
    made, voices = (
        make_recognizer(FaultyRecognizer("..."), FaultyRecognizer("sales")),
        FallbackSynthesizer({"elevenlabs": ScriptedSynthesizer(), "azure": ScriptedSynthesizer()}),
    )
    speech = SpeechServices(made, voices)
    asker = RecognitionDriver(made)
    assert await asker.feed() < FINAL_TIMEOUT_SECONDS + 0.2
    (troubled,) = [fact for fact in asker.told if isinstance(fact, ProviderFailure)]
    assert (troubled.provider, troubled.timed_out) == ("elevenlabs", True)
    sounded = []
    async with aclosing(voices.speak("harbour", "Hello.", Voice("elevenlabs", "rachel"), sounded.append)) as chunks:
        assert [chunk async for chunk in chunks]
    assert FirstAudio("elevenlabs") in sounded
    await speech.aclose()


@pytest.mark.parametrize(
    ("expectation", "whose"),
    [
        (MENU_HINTS, "local"),
        (RecognitionHints(("sales",), "en-GB"), "local"),
        (RecognitionHints(("Verkauf", "Rechnung"), "de-DE"), None),
        (RecognitionHints(("销售",), "zh-CN"), None),
        (RecognitionHints(()), None),
    ],
)
@in_virtual_time
async def test_local_speech_stands_in_only_for_what_it_can_hear(expectation, whose):
    down = SpeechError("end")
    made = make_recognizer(FaultyRecognizer(down), FaultyRecognizer(down), FaultyRecognizer("local"))
    asker = RecognitionDriver(made, expectation)
    await asker.feed()
    assert asker.texts == [whose] * bool(whose)
    assert len(asker.errors) == (not whose), "so that the keys are offered"
    await made.aclose()


@in_virtual_time
async def test_where_there_is_local_speech_alone_it_tries():
    made = make_recognizer(FaultyRecognizer("verkauf"), tiers=("local",))
    asker = RecognitionDriver(made, RecognitionHints(("Verkauf",), "de-DE"))
    await asker.feed()
    assert asker.texts == ["verkauf"]
    await made.aclose()
