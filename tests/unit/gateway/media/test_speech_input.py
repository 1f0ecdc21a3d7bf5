"""The ear: what reaches the recogniser, and when."""

import asyncio
import random

from tests.support.virtual_time import in_virtual_time
from vocelio.codecs.vad import SpeechEnded, SpeechStarted
from vocelio.engine.actions import Listen
from vocelio.gateway.media.speech_input import SpeechInput
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.speech.fakes import ScriptedRecognizer
from vocelio.gateway.speech.interfaces import RecognitionHints, SpeechError

FRAME_BYTES = 160
SILENCE = b"\xff" * 8000
SPEECH = unintelligible_speech(1.2, random.Random(1))  # noqa: S311 (somebody's voice, 1.2 s)


class SpeechInputDriver:
    def __init__(self, *texts, recognizer=None):
        self.recognizer = recognizer or ScriptedRecognizer(texts)
        self.edges, self.texts, self.errors = [], [], []
        self.listening = SpeechInput(
            lambda wanted, heard, failed: self.recognizer.open(RecognitionHints(wanted.phrases), heard, failed),
            self.edges.append,
            lambda wanted, heard: self.texts.append((wanted.id, heard.text)),
            lambda wanted, error: self.errors.append((wanted.id, str(error))),
        )

    def feed(self, sound):
        for start in range(0, len(sound), FRAME_BYTES):
            self.listening.on_audio(sound[start : start + FRAME_BYTES])


async def short_wait():
    for _ in range(3):
        await asyncio.sleep(0)


@in_virtual_time
async def test_an_utterance_from_before_its_first_voice_to_its_text():
    ear = SpeechInputDriver("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.feed(SILENCE + SPEECH + SILENCE)
    await short_wait()
    assert [type(edge) for edge in ear.edges] == [SpeechStarted, SpeechEnded]
    assert ear.texts == [("l1", "sales")]
    (recognition,) = ear.recognizer.recognitions
    assert recognition.hints.phrases == ("sales",)
    assert SPEECH in recognition.audio
    before = recognition.audio.index(SPEECH)
    assert 0.3 * 8000 <= before <= 0.5 * 8000


@in_virtual_time
async def test_nobody_listens_nothing_is_recognised():
    ear = SpeechInputDriver("sales")
    ear.feed(SILENCE + SPEECH + SILENCE)
    assert len(ear.edges) == 2
    assert ear.recognizer.recognitions == []


@in_virtual_time
async def test_listening_that_begins_in_mid_utterance_hears_it_whole():
    ear = SpeechInputDriver("sales")
    ear.feed(SILENCE + SPEECH[:6400])
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.feed(SPEECH[6400:] + SILENCE)
    await short_wait()
    assert ear.texts == [("l1", "sales")]
    assert SPEECH in ear.recognizer.recognitions[0].audio


@in_virtual_time
async def test_a_fresh_listening_ignores_the_rest_of_the_utterance():
    ear = SpeechInputDriver("billing")
    ear.feed(SILENCE + SPEECH[:6400])
    ear.listening.listen(Listen("l1", ("sales",), ignore_current_utterance=True))
    ear.feed(SPEECH[6400:] + SILENCE)
    await short_wait()
    assert ear.texts == []
    ear.feed(SPEECH + SILENCE)
    await short_wait()
    assert ear.texts == [("l1", "billing")]


@in_virtual_time
async def test_memory_of_a_long_unwanted_utterance_is_bounded():
    ear = SpeechInputDriver()
    for _ in range(20):
        ear.feed(SPEECH)
    ear.listening.listen(Listen("l1", ("sales",)))
    assert len(ear.recognizer.recognitions[0].audio) <= 24_000


@in_virtual_time
async def test_stopping_closes_the_recognition():
    ear = SpeechInputDriver("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.feed(SILENCE + SPEECH)
    ear.listening.stop()
    ear.feed(SILENCE)
    await short_wait()
    assert ear.texts == []
    assert ear.recognizer.recognitions[0].closed


@in_virtual_time
async def test_a_recogniser_that_does_not_come_to_an_end_is_given_up():
    ear = SpeechInputDriver("sales")
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.feed(SILENCE + SPEECH + SILENCE)
    assert ear.listening.awaiting_final
    ear.listening.on_timeout()
    await short_wait()
    assert ear.texts == []
    assert [name for name, _ in ear.errors] == ["l1"]


@in_virtual_time
async def test_a_recogniser_that_refuses():
    class Refusing(ScriptedRecognizer):
        def open(self, expectation, heard, failed):
            raise SpeechError("busy")

    ear = SpeechInputDriver(recognizer=Refusing())
    ear.listening.listen(Listen("l1", ("sales",)))
    ear.feed(SILENCE + SPEECH)
    assert ear.errors == [("l1", "busy")]
