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

from tests.integration.speech.local_hearing import MENU, PAUSE, YES_NO, Ear, children, hear, say
from tests.integration.speech.machine import SOON
from vocelio.codecs import mulaw
from vocelio.gateway import logs
from vocelio.gateway.logs import AsJson
from vocelio.gateway.speech.interfaces import Expectation, Heard, SpeechError, Unsuitable
from vocelio.gateway.speech.local import recognizer as module
from vocelio.gateway.speech.local.grammar import normal
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.worker_pool import MAX_STREAMS

DIGITS = Expectation(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), repeat=True)
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
    before, threads = children(), threading.active_count()
    recognizer = LocalRecognizer(workers=1)
    await recognizer.start()
    yield recognizer
    await recognizer.aclose()
    assert children() == before
    assert threading.active_count() == threads


async def share(hearings: list[tuple[str, str, Expectation]], right: Callable[[str, str], bool]) -> float:
    """The share of (text, voice, expectation) whose outcome is ``right``, given (said, heard)."""
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    try:
        sounds = [await say(text, voice) for text, voice, _ in hearings]
        results = [
            await hear(recognizer, sound, expectation)
            for sound, (_, _, expectation) in zip(sounds, hearings, strict=True)
        ]
    finally:
        await recognizer.aclose()
    outcomes = [right(said, heard.text) for (said, _, _), heard in zip(hearings, results, strict=True)]
    return sum(outcomes) / len(outcomes)


def same_meaning(said: str, heard: str) -> bool:
    return heard[:2] == said[:2]  # "yes" and "yeah" answer alike


@pytest.mark.parametrize("expectation", [MENU, YES_NO], ids=["menu", "yes_no"])
async def test_right_phrases_are_heard(expectation: Expectation):
    hearings = [(phrase, voice, expectation) for voice in VOICES for phrase in expectation.phrases]
    assert await share(hearings, same_meaning) >= 0.85


@pytest.mark.parametrize("expectation", [MENU, YES_NO, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_other_speech_is_rejected(expectation: Expectation):
    hearings = [(text, voice, expectation) for voice in VOICES for text in OTHER]
    assert await share(hearings, lambda _said, heard: heard == "") >= 0.8


def tone(hertz: float) -> bytes:
    return mulaw.encode((8000 * numpy.sin(numpy.arange(12000) * hertz * 2 * numpy.pi / 8000)).astype("<i2").tobytes())


def cough() -> bytes:
    burst = numpy.random.default_rng(1).normal(0, 6000, 2400) * numpy.exp(-numpy.arange(2400) / 500)
    return mulaw.encode(numpy.concatenate([burst, burst * 0.7]).clip(-32768, 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("expectation", [MENU, YES_NO, DIGITS], ids=["menu", "yes_no", "digits"])
async def test_what_is_no_speech_is_rejected(recognizer: LocalRecognizer, expectation: Expectation):
    sounds = {"350 Hz": tone(350), "440 Hz": tone(440), "1 kHz": tone(1000), "cough": cough(), "nothing": b""}
    heard = {name: await hear(recognizer, sound, expectation) for name, sound in sounds.items()}
    assert heard == dict.fromkeys(sounds, Heard("", 0.0, final=True))


async def test_phrases_may_follow_one_another(recognizer: LocalRecognizer):
    heard = await hear(recognizer, await say("four one three", "en-us+f2"), DIGITS)
    assert heard.text.split()[-1] == "three"
    assert len(heard.text.split()) == 3


@pytest.mark.parametrize("said", ["billing please", "I would like billing"])
async def test_courtesies_around_a_phrase_are_heard_too(recognizer: LocalRecognizer, said: str):
    assert (await hear(recognizer, await say(said), MENU)).text == said.lower()


async def test_partials_come_before_the_end_and_are_less_sure(recognizer: LocalRecognizer):
    ear = Ear(recognizer, MENU)
    ear.feed(PAUSE + await say("technical help") + PAUSE)
    async with asyncio.timeout(3 * SOON):
        await ear.any_partial.wait()
    assert not ear.outcome.done()
    ear.recognition.finish()
    final = await ear.result()
    assert final.text == "technical help"
    assert ear.partials[-1].confidence < final.confidence <= 1


async def test_the_same_sound_gives_the_same_result(recognizer: LocalRecognizer):
    sound = await say("my invoice")
    first = await hear(recognizer, sound, MENU)
    await hear(recognizer, await say("billing", "en-us+m3"), MENU)
    assert await hear(recognizer, sound, MENU) == first


@pytest.mark.parametrize("phrase", ["Vocelio", "24-hour help", "O'Brien & Söhne"])
async def test_words_outside_the_dictionary_are_heard(recognizer: LocalRecognizer, phrase: str):
    heard = await hear(recognizer, await say(phrase), Expectation((phrase, "billing")))
    assert heard.text == normal(phrase)


async def test_a_phrase_that_cannot_be_said_is_left_out_and_logged_once(
    recognizer: LocalRecognizer, caplog: pytest.LogCaptureFixture
):
    expectation = Expectation(("billing", "☎"))
    for _ in range(2):
        assert (await hear(recognizer, await say("billing"), expectation)).text == "billing"
    assert [record.getMessage() for record in caplog.records].count(caplog.records[0].getMessage()) == 1
    assert "☎" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    "expectation",
    [
        Expectation(("销售", "账单"), "zh-CN"),
        Expectation(("営業", "請求"), "ja-JP"),
        Expectation(("☎",)),
        Expectation(("",)),
    ],
)
async def test_phrases_of_which_none_can_be_heard_are_not_for_this_recogniser(
    recognizer: LocalRecognizer, expectation: Expectation
):
    with pytest.raises(Unsuitable, match="none of the phrases"):
        await hear(recognizer, PAUSE, expectation)


async def test_expecting_nothing_hears_nothing(recognizer: LocalRecognizer):
    assert (await hear(recognizer, await say("billing"), Expectation(()))).text == ""


async def test_nothing_is_called_back_after_closing(recognizer: LocalRecognizer):
    ear = Ear(recognizer, MENU)
    ear.feed(await say("technical help"))
    ear.recognition.finish()
    ear.recognition.close()
    ear.recognition.close()
    ear.recognition.feed(PAUSE)
    assert (await hear(recognizer, await say("billing"), MENU)).text == "billing"  # the worker has gone past it
    assert not ear.outcome.done()
    assert ear.partials == []


async def test_finishing_twice_gives_one_final(recognizer: LocalRecognizer):
    ear = Ear(recognizer, MENU)
    ear.feed(PAUSE + await say("billing") + PAUSE)
    ear.recognition.finish()
    ear.recognition.finish()
    assert (await ear.result()).text == "billing"
    await hear(recognizer, PAUSE, MENU)


async def test_many_utterances_at_once(recognizer: LocalRecognizer):
    sounds = [await say("billing"), await say("my invoice")]
    heard = await asyncio.gather(*(hear(recognizer, sounds[n % 2], MENU) for n in range(6)))
    assert [one.text for one in heard] == ["billing", "my invoice"] * 3


async def test_too_many_utterances_are_refused(recognizer: LocalRecognizer):
    ears = [Ear(recognizer, YES_NO) for _ in range(MAX_STREAMS + 1)]
    for ear in ears:
        ear.feed(PAUSE)
    assert not ears[-1].outcome.done()  # never from inside the call
    with pytest.raises(Unsuitable, match="full"):
        await ears[-1].result()
    for ear in ears:
        ear.recognition.close()
    assert (await hear(recognizer, await say("yes"), YES_NO)).text == "yes"


async def test_listening_to_silence_takes_no_place(recognizer: LocalRecognizer):
    waiting = [Ear(recognizer, YES_NO) for _ in range(MAX_STREAMS + 1)]
    assert (await hear(recognizer, await say("yes"), YES_NO)).text == "yes"
    for ear in waiting:
        ear.recognition.close()


async def test_an_endless_utterance_fails(recognizer: LocalRecognizer):
    ear = Ear(recognizer, MENU)
    ear.recognition.feed(bytes(module.MAX_UTTERANCE + 1))
    with pytest.raises(Unsuitable, match="60 s"):
        await ear.result()


@pytest.mark.parametrize("phrases", [("a",) * (module.MAX_PHRASES + 1), ("a" * (module.MAX_PHRASE + 1),)])
async def test_expecting_too_much_fails(recognizer: LocalRecognizer, phrases: tuple[str, ...]):
    with pytest.raises(Unsuitable, match="phrase"):
        await Ear(recognizer, Expectation(phrases)).result()


async def test_a_killed_worker_fails_its_streams_and_is_replaced(recognizer: LocalRecognizer):
    (victim,) = children()
    ear = Ear(recognizer, MENU)
    ear.feed(PAUSE)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(SpeechError, match="died"):
        await ear.result()
    late = Ear(recognizer, MENU)
    late.feed(PAUSE)
    with pytest.raises(SpeechError, match="no recognition worker"):
        await late.result()
    await recognizer.settled()
    assert (await hear(recognizer, await say("billing"), MENU)).text == "billing"


async def test_a_worker_that_does_not_keep_up_is_ended(recognizer: LocalRecognizer):
    (victim,) = children()
    ears = [Ear(recognizer, MENU) for _ in range(2)]
    os.kill(victim, signal.SIGSTOP)
    for ear in ears:
        ear.recognition.feed(bytes(module.MAX_UTTERANCE))
        ear.recognition.feed(bytes(module.SEND_BYTES))
    for ear in ears:
        with pytest.raises(SpeechError):
            await ear.result()
    await recognizer.settled()
    assert victim not in children()


async def test_what_follows_is_not_logged_as_that_calls_by_which_a_worker_ended(recognizer: LocalRecognizer, caplog):
    caplog.handler.setFormatter(AsJson())

    async def call() -> None:
        logs.about(call="CA1", tenant="harbour", redacted=False)
        ears = [Ear(recognizer, MENU) for _ in range(2)]
        os.kill(victim, signal.SIGSTOP)
        for ear in ears:
            ear.recognition.feed(bytes(module.MAX_UTTERANCE))
        for ear in ears:
            with pytest.raises(SpeechError, match="died"):
                await ear.result()

    (victim,) = children()
    await asyncio.create_task(call())
    await recognizer.settled()
    told = {
        line["message"].split(maxsplit=3)[3]: line.get("call") for line in map(json.loads, caplog.text.splitlines())
    }
    assert told == {"does not keep up and is ended": "CA1", "died and is replaced": None}


async def test_closing_fails_what_is_open():
    recognizer = LocalRecognizer(workers=2)
    await recognizer.start()
    ear = Ear(recognizer, MENU)
    ear.feed(PAUSE)
    await recognizer.aclose()
    with pytest.raises(SpeechError):
        await ear.result()
    assert children() == set()


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
