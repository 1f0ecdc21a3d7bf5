"""The ear: what reaches the recogniser, and when."""

import asyncio
import random

from tests.virtual_time import in_virtual_time
from vocelio.codecs.vad import SpeechEnded, SpeechStarted
from vocelio.engine.actions import Listen
from vocelio.gateway.media.speech_input import Listening
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.speech.fakes import ScriptedRecognizer
from vocelio.gateway.speech.interfaces import Expectation, SpeechError

FRAME = 160
SILENCE = b"\xff" * 8000
SPEECH = babble(1.2, random.Random(1))  # noqa: S311 (somebody's voice, 1.2 s)


class Ear:
    def __init__(self, *texts, recognizer=None):
        self.recognizer = recognizer or ScriptedRecognizer(texts)
        self.edges, self.texts, self.errors = [], [], []
        self.listening = Listening(
            lambda wanted, heard, failed: self.recognizer.open(Expectation(wanted.phrases), heard, failed),
            self.edges.append,
            lambda wanted, heard: self.texts.append((wanted.id, heard.text)),
            lambda wanted, error: self.errors.append((wanted.id, str(error))),
        )

    def hear(self, sound):
        for start in range(0, len(sound), FRAME):
            self.listening.hear(sound[start : start + FRAME])


async def soon():
    for _ in range(3):
        await asyncio.sleep(0)


@in_virtual_time
async def test_an_utterance_from_before_its_first_voice_to_its_text():
    ear = Ear("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.hear(SILENCE + SPEECH + SILENCE)
    await soon()
    assert [type(edge) for edge in ear.edges] == [SpeechStarted, SpeechEnded]
    assert ear.texts == [("l1", "sales")]
    (recognition,) = ear.recognizer.opened
    assert recognition.expectation.phrases == ("sales",)
    assert SPEECH in recognition.sound
    before = recognition.sound.index(SPEECH)
    assert 0.3 * 8000 <= before <= 0.5 * 8000


@in_virtual_time
async def test_nobody_listens_nothing_is_recognised():
    ear = Ear("sales")
    ear.hear(SILENCE + SPEECH + SILENCE)
    assert len(ear.edges) == 2
    assert ear.recognizer.opened == []


@in_virtual_time
async def test_listening_that_begins_in_mid_utterance_hears_it_whole():
    ear = Ear("sales")
    ear.hear(SILENCE + SPEECH[:6400])
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.hear(SPEECH[6400:] + SILENCE)
    await soon()
    assert ear.texts == [("l1", "sales")]
    assert SPEECH in ear.recognizer.opened[0].sound


@in_virtual_time
async def test_a_fresh_listening_ignores_the_rest_of_the_utterance():
    ear = Ear("billing")
    ear.hear(SILENCE + SPEECH[:6400])
    ear.listening.listen(Listen("l1", ("sales",), fresh=True))
    ear.hear(SPEECH[6400:] + SILENCE)
    await soon()
    assert ear.texts == []
    ear.hear(SPEECH + SILENCE)
    await soon()
    assert ear.texts == [("l1", "billing")]


@in_virtual_time
async def test_memory_of_a_long_unwanted_utterance_is_bounded():
    ear = Ear()
    for _ in range(20):
        ear.hear(SPEECH)
    ear.listening.listen(Listen("l1", ("sales",)))
    assert len(ear.recognizer.opened[0].sound) <= 24_000


@in_virtual_time
async def test_stopping_closes_the_recognition():
    ear = Ear("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.hear(SILENCE + SPEECH)
    ear.listening.stop()
    ear.hear(SILENCE)
    await soon()
    assert ear.texts == []
    assert ear.recognizer.opened[0].closed


@in_virtual_time
async def test_a_recogniser_that_does_not_come_to_an_end_is_given_up():
    ear = Ear("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.hear(SILENCE + SPEECH + SILENCE)
    assert ear.listening.waits_for_final
    ear.listening.give_up()
    await soon()
    assert ear.texts == []
    assert [name for name, _ in ear.errors] == ["l1"]


@in_virtual_time
async def test_a_recogniser_that_refuses():
    class Refusing(ScriptedRecognizer):
        def open(self, expectation, heard, failed):
            raise SpeechError("busy")

    ear = Ear(recognizer=Refusing())
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.hear(SILENCE + SPEECH)
    assert ear.errors == [("l1", "busy")]
