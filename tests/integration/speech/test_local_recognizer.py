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
    synthesize_all,
    worker_pids,
)
from tests.support.resource_checks import SOON_SECONDS
from vocelio.codecs import mulaw
from vocelio.gateway import logs
from vocelio.gateway.logs import JsonFormatter
from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript
from vocelio.gateway.speech.local import recognizer as module
from vocelio.gateway.speech.local.grammar import normalize_phrase
from vocelio.gateway.speech.local.recognizer import MAX_STREAMS_PER_WORKER, LocalRecognizer

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
    """Return the share of (text, voice, hints) whose result is ``right``, a function of spoken and recognized text."""
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    try:
        sounds = await synthesize_all((text, voice) for text, voice, _ in hearings)
        results = [
            await recognize(recognizer, sound, expectation)
            for sound, (_, _, expectation) in zip(sounds, hearings, strict=True)
        ]
    finally:
        await recognizer.aclose()
    outcomes = [right(said, transcript.text) for (said, _, _), transcript in zip(hearings, results, strict=True)]
    return sum(outcomes) / len(outcomes)


def has_same_meaning(said: str, transcript: str) -> bool:
    return transcript[:2] == said[:2]  # "yes" and "yeah" answer alike


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS], ids=["menu", "yes_no"])
async def test_expected_phrases_are_recognized(expectation: RecognitionHints):
    hearings = [(phrase, voice, expectation) for voice in VOICES for phrase in expectation.phrases]
    assert await matching_share(hearings, has_same_meaning) >= 0.85


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_other_speech_is_rejected(expectation: RecognitionHints):
    hearings = [(text, voice, expectation) for voice in VOICES for text in OTHER]
    assert await matching_share(hearings, lambda _said, transcript: transcript == "") >= 0.8


def tone_audio(hertz: float) -> bytes:
    return mulaw.encode((8000 * numpy.sin(numpy.arange(12000) * hertz * 2 * numpy.pi / 8000)).astype("<i2").tobytes())


def cough_audio() -> bytes:
    burst = numpy.random.default_rng(1).normal(0, 6000, 2400) * numpy.exp(-numpy.arange(2400) / 500)
    return mulaw.encode(numpy.concatenate([burst, burst * 0.7]).clip(-32768, 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("expectation", [MENU_HINTS, YES_NO_HINTS, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_non_speech_is_rejected(recognizer: LocalRecognizer, expectation: RecognitionHints):
    sounds = {
        "350 Hz": tone_audio(350),
        "440 Hz": tone_audio(440),
        "1 kHz": tone_audio(1000),
        "cough": cough_audio(),
        "nothing": b"",
    }
    transcript = {name: await recognize(recognizer, sound, expectation) for name, sound in sounds.items()}
    assert transcript == dict.fromkeys(sounds, Transcript("", 0.0, final=True))


async def test_phrases_may_follow_one_another(recognizer: LocalRecognizer):
    transcript = await recognize(recognizer, await synthesize("four one three", "en-us+f2"), DIGITS)
    assert transcript.text.split()[-1] == "three"
    assert len(transcript.text.split()) == 3


@pytest.mark.parametrize("said", ["billing please", "I would like billing"])
async def test_courtesies_around_a_phrase_are_recognized(recognizer: LocalRecognizer, said: str):
    assert (await recognize(recognizer, await synthesize(said), MENU_HINTS)).text == said.lower()


async def test_partials_come_before_the_final_with_lower_confidence(recognizer: LocalRecognizer):
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(PAUSE_AUDIO + await synthesize("technical help") + PAUSE_AUDIO)
    async with asyncio.timeout(3 * SOON_SECONDS):
        await client.any_partial.wait()
    assert not client.outcome.done()
    client.recognition.finish()
    final = await client.result()
    assert final.text == "technical help"
    assert client.partials[-1].confidence < final.confidence <= 1


async def test_same_audio_gives_the_same_result(recognizer: LocalRecognizer):
    sound = await synthesize("my invoice")
    first = await recognize(recognizer, sound, MENU_HINTS)
    await recognize(recognizer, await synthesize("billing", "en-us+m3"), MENU_HINTS)
    assert await recognize(recognizer, sound, MENU_HINTS) == first


@pytest.mark.parametrize("phrase", ["Vocelio", "24-hour help", "O'Brien & Söhne"])
async def test_words_outside_the_dictionary_are_recognized(recognizer: LocalRecognizer, phrase: str):
    transcript = await recognize(recognizer, await synthesize(phrase), RecognitionHints((phrase, "billing")))
    assert transcript.text == normalize_phrase(phrase)


async def test_unpronounceable_phrase_is_skipped_and_logged_once(
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
async def test_only_unpronounceable_phrases_are_not_supported(
    recognizer: LocalRecognizer, expectation: RecognitionHints
):
    with pytest.raises(RequestNotSupported, match="none of the phrases"):
        await recognize(recognizer, PAUSE_AUDIO, expectation)


async def test_no_phrases_recognize_nothing(recognizer: LocalRecognizer):
    assert (await recognize(recognizer, await synthesize("billing"), RecognitionHints(()))).text == ""


async def test_no_callback_after_close(recognizer: LocalRecognizer):
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(await synthesize("technical help"))
    client.recognition.finish()
    client.recognition.close()
    client.recognition.close()
    client.recognition.feed(PAUSE_AUDIO)
    assert (
        await recognize(recognizer, await synthesize("billing"), MENU_HINTS)
    ).text == "billing"  # the worker has gone past it
    assert not client.outcome.done()
    assert client.partials == []


async def test_finishing_twice_gives_one_final(recognizer: LocalRecognizer):
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(PAUSE_AUDIO + await synthesize("billing") + PAUSE_AUDIO)
    client.recognition.finish()
    client.recognition.finish()
    assert (await client.result()).text == "billing"
    await recognize(recognizer, PAUSE_AUDIO, MENU_HINTS)


async def test_many_concurrent_utterances(recognizer: LocalRecognizer):
    sounds = [await synthesize("billing"), await synthesize("my invoice")]
    transcript = await asyncio.gather(*(recognize(recognizer, sounds[n % 2], MENU_HINTS) for n in range(6)))
    assert [item.text for item in transcript] == ["billing", "my invoice"] * 3


async def test_utterances_over_the_limit_are_rejected(recognizer: LocalRecognizer):
    clients = [RecognitionClient(recognizer, YES_NO_HINTS) for _ in range(MAX_STREAMS_PER_WORKER + 1)]
    for client in clients:
        client.feed(PAUSE_AUDIO)
    assert not clients[-1].outcome.done()  # never from inside the call
    with pytest.raises(RequestNotSupported, match="full"):
        await clients[-1].result()
    for client in clients:
        client.recognition.close()
    assert (await recognize(recognizer, await synthesize("yes"), YES_NO_HINTS)).text == "yes"


async def test_recognition_without_audio_takes_no_worker_capacity(recognizer: LocalRecognizer):
    waiting = [RecognitionClient(recognizer, YES_NO_HINTS) for _ in range(MAX_STREAMS_PER_WORKER + 1)]
    assert (await recognize(recognizer, await synthesize("yes"), YES_NO_HINTS)).text == "yes"
    for client in waiting:
        client.recognition.close()


async def test_utterance_over_the_limit_fails(recognizer: LocalRecognizer):
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.recognition.feed(bytes(module.MAX_UTTERANCE_BYTES + 1))
    with pytest.raises(RequestNotSupported, match="60 s"):
        await client.result()


@pytest.mark.parametrize("phrases", [("a",) * (module.MAX_PHRASES + 1), ("a" * (module.MAX_PHRASE_LENGTH + 1),)])
async def test_too_many_or_too_long_phrases_are_rejected(recognizer: LocalRecognizer, phrases: tuple[str, ...]):
    with pytest.raises(RequestNotSupported, match="phrase"):
        await RecognitionClient(recognizer, RecognitionHints(phrases)).result()


async def test_killed_worker_fails_its_streams_and_is_restarted(recognizer: LocalRecognizer):
    (victim,) = worker_pids()
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(PAUSE_AUDIO)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(SpeechError, match="died"):
        await client.result()
    late = RecognitionClient(recognizer, MENU_HINTS)
    late.feed(PAUSE_AUDIO)
    with pytest.raises(SpeechError, match="no recognition worker"):
        await late.result()
    await recognizer.wait_started()
    assert (await recognize(recognizer, await synthesize("billing"), MENU_HINTS)).text == "billing"


async def test_worker_exit_is_not_logged_in_the_context_of_a_call(recognizer: LocalRecognizer, caplog):
    caplog.handler.setFormatter(JsonFormatter())

    async def call() -> None:
        logs.bind(call="CA1", tenant="harbour", redacted=False)
        client = RecognitionClient(recognizer, MENU_HINTS)
        client.feed(PAUSE_AUDIO)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(SpeechError, match="died"):
            await client.result()

    (victim,) = worker_pids()
    await asyncio.create_task(call())
    await recognizer.wait_started()
    events = {
        line["message"].split(maxsplit=3)[3]: line.get("call") for line in map(json.loads, caplog.text.splitlines())
    }
    assert events == {"died; starting another": None}


async def test_aclose_fails_open_recognitions():
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(PAUSE_AUDIO)
    await recognizer.aclose()
    with pytest.raises(SpeechError):
        await client.result()
    assert worker_pids() == set()


def test_worker_exits_when_the_gateway_is_killed():
    """A process prints its workers' process ids and is then killed without a chance to clean up."""
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
