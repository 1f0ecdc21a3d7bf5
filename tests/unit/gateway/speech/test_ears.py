"""Ears: who hears an utterance when somebody fails, and that all of it is heard."""

import asyncio
from contextlib import aclosing

import pytest

from tests.unit.gateway.speech.providers import Hearer, Speaker
from tests.virtual_time import in_virtual_time
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.fallback_recognizer import DEADLINE, MOST, Ears
from vocelio.gateway.speech.fallback_synthesizer import Voices
from vocelio.gateway.speech.interfaces import CredentialsRefused, Expectation, Heard, SpeechError
from vocelio.gateway.speech.services import Speech
from vocelio.gateway.speech.telemetry import Recognised, Sounded, Troubled

MENU = Expectation(("sales", "billing"))
FRAME = b"\x7e" * 160


class Asker:
    """One utterance, as a call has it."""

    def __init__(self, ears, expectation=MENU, tier="elevenlabs"):
        self.loop = asyncio.get_running_loop()
        self.texts, self.errors, self.told = [], [], []
        self.at = None
        self.recognition = ears.open(tier, expectation, self._heard, self.errors.append, self.told.append)

    def _heard(self, heard):
        self.texts.append(heard.text)
        self.at = self.loop.time()

    async def say(self, frames=50):
        for _ in range(frames):
            self.recognition.feed(FRAME)
        self.recognition.finish()
        finished = self.loop.time()
        await asyncio.sleep(6)
        return None if self.at is None else self.at - finished


def ears(*hearers, tiers=("elevenlabs", "azure", "local")):
    return Ears(dict(zip(tiers, hearers, strict=False)))


@in_virtual_time
async def test_the_first_hears_and_the_others_do_not():
    best, other = Hearer("sales"), Hearer("billing")
    asker = Asker(ears(best, other))
    assert await asker.say() == pytest.approx(0.1)
    assert (asker.texts, other.opened) == (["sales"], [])
    assert asker.told == [Recognised("elevenlabs", 1.0, pytest.approx(0.1))]
    assert best.opened[0].closed


@pytest.mark.parametrize(
    "fault", [SpeechError("open"), SpeechError("feed"), SpeechError("end"), CredentialsRefused("end"), "..."]
)
@in_virtual_time
async def test_the_next_hears_all_of_it(fault):
    best, other = Hearer(fault), Hearer("sales")
    made = ears(best, other)
    asker = Asker(made)
    took = await asker.say()
    assert asker.texts == ["sales"]
    assert other.opened[0].sound == FRAME * 50
    assert took <= DEADLINE + 0.2
    assert [(fact.provider, fact.service) for fact in asker.told if isinstance(fact, Troubled)] == [
        ("elevenlabs", "recognition")
    ]
    assert all(utterance.closed for utterance in best.opened[:1] + other.opened), "a probe may be open"
    await made.aclose()


@in_virtual_time
async def test_one_that_is_late_is_not_heard_any_more():
    best, other = Hearer("..."), Hearer("sales")
    asker = Asker(ears(best, other))
    await asker.say()
    best.opened[0].heard(Heard("billing", 0.9, True))
    best.opened[0].failed(SpeechError("late"))
    assert (asker.texts, asker.errors) == (["sales"], [])


@in_virtual_time
async def test_when_nobody_hears_the_call_is_told_once():
    asker = Asker(ears(Hearer("..."), Hearer(SpeechError("end"))))
    await asker.say()
    assert (asker.texts, [str(error) for error in asker.errors]) == ([], ["end"])


@in_virtual_time
async def test_nothing_is_told_from_inside_open_and_nothing_after_close():
    asker = Asker(ears(Hearer(SpeechError("open"))))
    assert asker.errors == []
    asker.recognition.close()
    await asyncio.sleep(1)
    assert asker.errors == []


@in_virtual_time
async def test_a_recogniser_of_phrases_is_no_help_with_free_text():
    local = Hearer("sales")
    asker = Asker(ears(Hearer(SpeechError("end")), Hearer(SpeechError("end")), local), Expectation(()))
    await asker.say()
    assert (len(asker.errors), local.opened) == (1, [])


@in_virtual_time
async def test_an_endless_utterance_fails():
    asker = Asker(ears(Hearer("sales")))
    asker.recognition.feed(bytes(MOST + 1))
    await asyncio.sleep(0)
    assert len(asker.errors) == 1


@in_virtual_time
async def test_a_recogniser_that_keeps_failing_is_left_alone_until_a_probe_goes_well():
    best, other = Hearer(SpeechError("end")), Hearer("sales")
    made = ears(best, other)
    for _ in range(3):
        await Asker(made).say(1)
        await asyncio.sleep(0)
    assert made.report()[0].state in ("open", "half_open")
    count = len(best.opened)
    await Asker(made).say(1)
    assert made.report()[0].state != "closed"
    best.does = ["sales"]
    await asyncio.sleep(60)
    assert made.report()[0].state == "closed"
    assert len(best.opened) > count
    await Asker(made).say(1)
    assert best.opened[-1].sound == FRAME
    await made.aclose()


@in_virtual_time
async def test_a_call_of_another_tier_asks_its_own_provider():
    best, azure, local = Hearer("a"), Hearer("b"), Hearer("c")
    made = ears(best, azure, local)
    for tier, text in (("elevenlabs", "a"), ("azure", "b"), ("local", "c")):
        asker = Asker(made, tier=tier)
        await asker.say()
        assert asker.texts == [text]


@in_virtual_time
async def test_one_that_is_late_is_told_and_its_voice_is_not_kept_from_other_calls():
    made, voices = ears(Hearer("..."), Hearer("sales")), Voices({"elevenlabs": Speaker(), "azure": Speaker()})
    speech = Speech(made, voices)
    asker = Asker(made)
    assert await asker.say() < DEADLINE + 0.2
    (troubled,) = [fact for fact in asker.told if isinstance(fact, Troubled)]
    assert (troubled.provider, troubled.late) == ("elevenlabs", True)
    sounded = []
    async with aclosing(voices.speak("harbour", "Hello.", Voice("elevenlabs", "rachel"), sounded.append)) as chunks:
        assert [chunk async for chunk in chunks]
    assert Sounded("elevenlabs") in sounded
    await speech.aclose()


@pytest.mark.parametrize(
    ("expectation", "whose"),
    [
        (MENU, "local"),
        (Expectation(("sales",), "en-GB"), "local"),
        (Expectation(("Verkauf", "Rechnung"), "de-DE"), None),
        (Expectation(("销售",), "zh-CN"), None),
        (Expectation(()), None),
    ],
)
@in_virtual_time
async def test_local_speech_stands_in_only_for_what_it_can_hear(expectation, whose):
    down = SpeechError("end")
    made = ears(Hearer(down), Hearer(down), Hearer("local"))
    asker = Asker(made, expectation)
    await asker.say()
    assert asker.texts == [whose] * bool(whose)
    assert len(asker.errors) == (not whose), "so that the keys are offered"
    await made.aclose()


@in_virtual_time
async def test_where_there_is_local_speech_alone_it_tries():
    made = ears(Hearer("verkauf"), tiers=("local",))
    asker = Asker(made, Expectation(("Verkauf",), "de-DE"))
    await asker.say()
    assert asker.texts == ["verkauf"]
    await made.aclose()
