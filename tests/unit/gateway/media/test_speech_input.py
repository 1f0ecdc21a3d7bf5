"""Speech input: what reaches the recognizer, and when."""

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
async def test_recognition_gets_an_utterance_with_preroll():
    speech_input = SpeechInputDriver("sales")
    speech_input.listening.listen(Listen("l1", ("sales",)))
    speech_input.feed(SILENCE + SPEECH + SILENCE)
    await short_wait()
    assert [type(edge) for edge in speech_input.edges] == [SpeechStarted, SpeechEnded]
    assert speech_input.texts == [("l1", "sales")]
    (recognition,) = speech_input.recognizer.recognitions
    assert recognition.hints.phrases == ("sales",)
    assert SPEECH in recognition.audio
    before = recognition.audio.index(SPEECH)
    assert 0.3 * 8000 <= before <= 0.5 * 8000


@in_virtual_time
async def test_nothing_is_recognized_without_a_request():
    speech_input = SpeechInputDriver("sales")
    speech_input.feed(SILENCE + SPEECH + SILENCE)
    assert len(speech_input.edges) == 2
    assert speech_input.recognizer.recognitions == []


@in_virtual_time
async def test_recognition_started_during_an_utterance_gets_all_of_it():
    speech_input = SpeechInputDriver("sales")
    speech_input.feed(SILENCE + SPEECH[:6400])
    speech_input.listening.listen(Listen("l1", ("sales",)))
    speech_input.feed(SPEECH[6400:] + SILENCE)
    await short_wait()
    assert speech_input.texts == [("l1", "sales")]
    assert SPEECH in speech_input.recognizer.recognitions[0].audio


@in_virtual_time
async def test_recognition_can_ignore_the_current_utterance():
    speech_input = SpeechInputDriver("billing")
    speech_input.feed(SILENCE + SPEECH[:6400])
    speech_input.listening.listen(Listen("l1", ("sales",), ignore_current_utterance=True))
    speech_input.feed(SPEECH[6400:] + SILENCE)
    await short_wait()
    assert speech_input.texts == []
    speech_input.feed(SPEECH + SILENCE)
    await short_wait()
    assert speech_input.texts == [("l1", "billing")]


@in_virtual_time
async def test_lookback_buffer_is_bounded():
    speech_input = SpeechInputDriver()
    for _ in range(20):
        speech_input.feed(SPEECH)
    speech_input.listening.listen(Listen("l1", ("sales",)))
    assert len(speech_input.recognizer.recognitions[0].audio) <= 24_000


@in_virtual_time
async def test_stop_closes_the_recognition():
    speech_input = SpeechInputDriver("sales")
    speech_input.listening.listen(Listen("l1", ("sales",)))
    speech_input.feed(SILENCE + SPEECH)
    speech_input.listening.stop()
    speech_input.feed(SILENCE)
    await short_wait()
    assert speech_input.texts == []
    assert speech_input.recognizer.recognitions[0].closed


@in_virtual_time
async def test_recognition_fails_on_timeout():
    speech_input = SpeechInputDriver("sales")
    speech_input.listening.listen(Listen("l1", ("sales",)))
    speech_input.feed(SILENCE + SPEECH + SILENCE)
    assert speech_input.listening.awaiting_final
    speech_input.listening.on_timeout()
    await short_wait()
    assert speech_input.texts == []
    assert [name for name, _ in speech_input.errors] == ["l1"]


@in_virtual_time
async def test_error_on_open_is_reported():
    class Refusing(ScriptedRecognizer):
        def open(self, expectation, heard, failed):
            raise SpeechError("busy")

    speech_input = SpeechInputDriver(recognizer=Refusing())
    speech_input.listening.listen(Listen("l1", ("sales",)))
    speech_input.feed(SILENCE + SPEECH)
    assert speech_input.errors == [("l1", "busy")]
