import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable

import numpy
import pytest

from tests.support.local_recognition import (
    MENU_HINTS,
    PAUSE_AUDIO,
    YES_NO_HINTS,
    RecognitionClient,
    recognize,
    synthesize,
    worker_pids,
)
from tests.support.resource_checks import SOON_SECONDS
from vocelio.codecs import mulaw
from vocelio.gateway import logs
from vocelio.gateway.logs import JsonFormatter
from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript
from vocelio.gateway.speech.local import recognizer as module
from vocelio.gateway.speech.local.grammar import normalize_phrase
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.worker_pool import MAX_STREAMS_PER_WORKER

DIGITS = RecognitionHints(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), repeat=True)
VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-us+f2")
OTHER = (
    "the weather is nice today",
    "elephants like bananas",
    "what time is it",
    "hello hello can you hear me",
    "wednesday afternoon",
    "flurgle bazoo mintrak",
    "turn the music down",
)


@pytest.fixture
async def recognizer() -> AsyncIterator[LocalRecognizer]:
    before, threads = worker_pids(), threading.active_count()
    recognizer = LocalRecognizer(workers=1)
    await recognizer.start()
    yield recognizer
    await recognizer.aclose()
    assert worker_pids() == before
    assert threading.active_count() == threads


async def matching_share(hearings: list[tuple[str, str, RecognitionHints]], right: Callable[[str, str], bool]) -> float:
    """The share of (text, voice, expectation) whose outcome is ``right``, given (said, heard)."""
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    try:
        sounds = [await synthesize(text, voice) for text, voice, _ in hearings]
        results = [
            await recognize(recognizer, sound, expectation)
            for sound, (_, _, expectation) in zip(sounds, hearings, strict=True)
        ]
    finally:
        await recognizer.aclose()
    outcomes = [right(said, heard.text) for (said, _, _), heard in zip(hearings, results, strict=True)]
    return sum(outcomes) / len(outcomes)


def has_same_meaning(said: str, heard: str) -> bool:
    return heard[:2] == said[:2]  # "yes" and "yeah" answer alike


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS], ids=["menu", "yes_no"])
async def test_right_phrases_are_heard(expectation: RecognitionHints):
    hearings = [(phrase, voice, expectation) for voice in VOICES for phrase in expectation.phrases]
    assert await matching_share(hearings, has_same_meaning) >= 0.85


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_other_speech_is_rejected(expectation: RecognitionHints):
    hearings = [(text, voice, expectation) for voice in VOICES for text in OTHER]
    assert await matching_share(hearings, lambda _said, heard: heard == "") >= 0.8


def tone_audio(hertz: float) -> bytes:
    return mulaw.encode((8000 * numpy.sin(numpy.arange(12000) * hertz * 2 * numpy.pi / 8000)).astype("<i2").tobytes())


def cough_audio() -> bytes:
    burst = numpy.random.default_rng(1).normal(0, 6000, 2400) * numpy.exp(-numpy.arange(2400) / 500)
    return mulaw.encode(numpy.concatenate([burst, burst * 0.7]).clip(-32768, 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_what_is_no_speech_is_rejected(recognizer: LocalRecognizer, expectation: RecognitionHints):
    sounds = {
        "350 Hz": tone_audio(350),
        "440 Hz": tone_audio(440),
        "1 kHz": tone_audio(1000),
        "cough": cough_audio(),
        "nothing": b"",
    }
    heard = {name: await recognize(recognizer, sound, expectation) for name, sound in sounds.items()}
    assert heard == dict.fromkeys(sounds, Transcript("", 0.0, final=True))


async def test_phrases_may_follow_one_another(recognizer: LocalRecognizer):
    heard = await recognize(recognizer, await synthesize("four one three", "en-us+f2"), DIGITS)
    assert heard.text.split()[-1] == "three"
    assert len(heard.text.split()) == 3


@pytest.mark.parametrize("said", ["billing please", "I would like billing"])
async def test_courtesies_around_a_phrase_are_heard_too(recognizer: LocalRecognizer, said: str):
    assert (await recognize(recognizer, await synthesize(said), MENU_HINTS)).text == said.lower()


async def test_partials_come_before_the_end_and_are_less_sure(recognizer: LocalRecognizer):
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.feed(PAUSE_AUDIO + await synthesize("technical help") + PAUSE_AUDIO)
    async with asyncio.timeout(3 * SOON_SECONDS):
        await ear.any_partial.wait()
    assert not ear.outcome.done()
    ear.recognition.finish()
    final = await ear.result()
    assert final.text == "technical help"
    assert ear.partials[-1].confidence < final.confidence <= 1


async def test_the_same_sound_gives_the_same_result(recognizer: LocalRecognizer):
    sound = await synthesize("my invoice")
    first = await recognize(recognizer, sound, MENU_HINTS)
    await recognize(recognizer, await synthesize("billing", "en-us+m3"), MENU_HINTS)
    assert await recognize(recognizer, sound, MENU_HINTS) == first


@pytest.mark.parametrize("phrase", ["Vocelio", "24-hour help", "O'Brien & Söhne"])
async def test_words_outside_the_dictionary_are_heard(recognizer: LocalRecognizer, phrase: str):
    heard = await recognize(recognizer, await synthesize(phrase), RecognitionHints((phrase, "billing")))
    assert heard.text == normalize_phrase(phrase)


async def test_a_phrase_that_cannot_be_said_is_left_out_and_logged_once(
    recognizer: LocalRecognizer, caplog: pytest.LogCaptureFixture
):
    expectation = RecognitionHints(("billing", "☎"))
    for _ in range(2):
        assert (await recognize(recognizer, await synthesize("billing"), expectation)).text == "billing"
    assert [record.getMessage() for record in caplog.records].count(caplog.records[0].getMessage()) == 1
    assert "☎" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    "expectation",
    [
        RecognitionHints(("销售", "账单"), "zh-CN"),
        RecognitionHints(("営業", "請求"), "ja-JP"),
        RecognitionHints(("☎",)),
        RecognitionHints(("",)),
    ],
)
async def test_phrases_of_which_none_can_be_heard_are_not_for_this_recogniser(
    recognizer: LocalRecognizer, expectation: RecognitionHints
):
    with pytest.raises(RequestNotSupported, match="none of the phrases"):
        await recognize(recognizer, PAUSE_AUDIO, expectation)


async def test_expecting_nothing_hears_nothing(recognizer: LocalRecognizer):
    assert (await recognize(recognizer, await synthesize("billing"), RecognitionHints(()))).text == ""


async def test_nothing_is_called_back_after_closing(recognizer: LocalRecognizer):
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.feed(await synthesize("technical help"))
    ear.recognition.finish()
    ear.recognition.close()
    ear.recognition.close()
    ear.recognition.feed(PAUSE_AUDIO)
    assert (
        await recognize(recognizer, await synthesize("billing"), MENU_HINTS)
    ).text == "billing"  # the worker has gone past it
    assert not ear.outcome.done()
    assert ear.partials == []


async def test_finishing_twice_gives_one_final(recognizer: LocalRecognizer):
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.feed(PAUSE_AUDIO + await synthesize("billing") + PAUSE_AUDIO)
    ear.recognition.finish()
    ear.recognition.finish()
    assert (await ear.result()).text == "billing"
    await recognize(recognizer, PAUSE_AUDIO, MENU_HINTS)


async def test_many_utterances_at_once(recognizer: LocalRecognizer):
    sounds = [await synthesize("billing"), await synthesize("my invoice")]
    heard = await asyncio.gather(*(recognize(recognizer, sounds[n % 2], MENU_HINTS) for n in range(6)))
    assert [one.text for one in heard] == ["billing", "my invoice"] * 3


async def test_too_many_utterances_are_refused(recognizer: LocalRecognizer):
    ears = [RecognitionClient(recognizer, YES_NO_HINTS) for _ in range(MAX_STREAMS_PER_WORKER + 1)]
    for ear in ears:
        ear.feed(PAUSE_AUDIO)
    assert not ears[-1].outcome.done()  # never from inside the call
    with pytest.raises(RequestNotSupported, match="full"):
        await ears[-1].result()
    for ear in ears:
        ear.recognition.close()
    assert (await recognize(recognizer, await synthesize("yes"), YES_NO_HINTS)).text == "yes"


async def test_listening_to_silence_takes_no_place(recognizer: LocalRecognizer):
    waiting = [RecognitionClient(recognizer, YES_NO_HINTS) for _ in range(MAX_STREAMS_PER_WORKER + 1)]
    assert (await recognize(recognizer, await synthesize("yes"), YES_NO_HINTS)).text == "yes"
    for ear in waiting:
        ear.recognition.close()


async def test_an_endless_utterance_fails(recognizer: LocalRecognizer):
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.recognition.feed(bytes(module.MAX_UTTERANCE_BYTES + 1))
    with pytest.raises(RequestNotSupported, match="60 s"):
        await ear.result()


@pytest.mark.parametrize("phrases", [("a",) * (module.MAX_PHRASES + 1), ("a" * (module.MAX_PHRASE_LENGTH + 1),)])
async def test_expecting_too_much_fails(recognizer: LocalRecognizer, phrases: tuple[str, ...]):
    with pytest.raises(RequestNotSupported, match="phrase"):
        await RecognitionClient(recognizer, RecognitionHints(phrases)).result()


async def test_a_killed_worker_fails_its_streams_and_is_replaced(recognizer: LocalRecognizer):
    (victim,) = worker_pids()
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.feed(PAUSE_AUDIO)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(SpeechError, match="died"):
        await ear.result()
    late = RecognitionClient(recognizer, MENU_HINTS)
    late.feed(PAUSE_AUDIO)
    with pytest.raises(SpeechError, match="no recognition worker"):
        await late.result()
    await recognizer.wait_started()
    assert (await recognize(recognizer, await synthesize("billing"), MENU_HINTS)).text == "billing"


async def test_a_worker_that_does_not_keep_up_is_ended(recognizer: LocalRecognizer):
    (victim,) = worker_pids()
    ears = [RecognitionClient(recognizer, MENU_HINTS) for _ in range(2)]
    os.kill(victim, signal.SIGSTOP)
    for ear in ears:
        ear.recognition.feed(bytes(module.MAX_UTTERANCE_BYTES))
        ear.recognition.feed(bytes(module.SEND_BYTES))
    for ear in ears:
        with pytest.raises(SpeechError):
            await ear.result()
    await recognizer.wait_started()
    assert victim not in worker_pids()


async def test_what_follows_is_not_logged_as_that_calls_by_which_a_worker_ended(recognizer: LocalRecognizer, caplog):
    caplog.handler.setFormatter(JsonFormatter())

    async def call() -> None:
        logs.bind(call="CA1", tenant="harbour", redacted=False)
        ears = [RecognitionClient(recognizer, MENU_HINTS) for _ in range(2)]
        os.kill(victim, signal.SIGSTOP)
        for ear in ears:
            ear.recognition.feed(bytes(module.MAX_UTTERANCE_BYTES))
        for ear in ears:
            with pytest.raises(SpeechError, match="died"):
                await ear.result()

    (victim,) = worker_pids()
    await asyncio.create_task(call())
    await recognizer.wait_started()
    told = {
        line["message"].split(maxsplit=3)[3]: line.get("call") for line in map(json.loads, caplog.text.splitlines())
    }
    assert told == {"does not keep up; killing it": "CA1", "died; starting another": None}


async def test_closing_fails_what_is_open():
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    ear = RecognitionClient(recognizer, MENU_HINTS)
    ear.feed(PAUSE_AUDIO)
    await recognizer.aclose()
    with pytest.raises(SpeechError):
        await ear.result()
    assert worker_pids() == set()


def test_a_worker_ends_when_the_gateway_is_killed():
    """The workers' pids are printed by a process that is then killed without a chance to clean up."""
    script = (
        "import asyncio, sys\n"
        "from vocelio.gateway.speech.local.recognizer import LocalRecognizer\n"
        "async def main():\n"
        "    recognizer = LocalRecognizer(workers=2)\n"
        "    await recognizer.start()\n"
        "    print(*recognizer.pids, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as gateway:  # noqa: S603
        assert gateway.stdout is not None
        pids = [int(pid) for pid in gateway.stdout.readline().split()]
        assert len(pids) == 2
        gateway.kill()
        gateway.wait()
        for pid in pids:
            wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 10)[0], "the worker goes on"
    finally:
        os.close(descriptor)
