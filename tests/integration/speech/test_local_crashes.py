"""Texts and sounds that kill or stop workers of local speech: nothing else dies, and nobody else notices.

The texts are those that corrupt the memory of espeak-ng 1.52.0. ``clean_text`` makes them harmless, so these tests
leave it out where a crash is wanted.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.support.leaping_loop import advance_clock, on_a_leaping_loop
from tests.support.local_recognition import MENU_HINTS, PAUSE_AUDIO, RecognitionClient, recognize, synthesize
from tests.support.resource_checks import wait_until_equal
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.crash_ledger import CRASH_WINDOW_SECONDS, MAX_CRASHES_PER_TENANT, CrashLedger
from vocelio.gateway.speech.local.recognizer import MAX_UTTERANCE_BYTES, LocalRecognizer
from vocelio.gateway.speech.local.synthesis_process import MAX_RENDER_SECONDS
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

DEADLY_TEXTS = [
    ("en-us", "s'" * 80),
    ("en-gb", "s'" * 90),
    ("fr", "s'" * 100),
    ("ar", "a \u28df b."),
    ("my", "a \u24dc b."),
]


async def speak(synthesizer: LocalSynthesizer, text: str, voice: str = "en-us", tenant: str = "") -> bytes:
    return b"".join([chunk async for chunk in synthesizer.speak(text, Voice(name=voice), tenant)])


@pytest.mark.parametrize(("voice", "text"), DEADLY_TEXTS)
async def test_deadly_text_is_spoken_after_cleaning(voice: str, text: str):
    async with aclosing(LocalSynthesizer()) as synthesizer:
        await synthesizer.start()
        before = synthesizer.pids
        assert await speak(synthesizer, text, voice)
        assert synthesizer.pids == before


@pytest.mark.parametrize(("voice", "text"), DEADLY_TEXTS)
async def test_deadly_text_kills_only_workers_and_is_refused_from_then_on(voice: str, text: str):
    async with aclosing(LocalSynthesizer(clean=str)) as synthesizer:
        await synthesizer.start()
        deadly = speak(synthesizer, f"Before. {text}", voice, "alpha")
        others = [speak(synthesizer, f"Number {number}.", tenant="beta") for number in range(20)]
        error, *spoken = await asyncio.gather(deadly, *others, return_exceptions=True)
        assert isinstance(error, RequestNotSupported)
        assert all(isinstance(audio, bytes) and len(audio) > 2000 for audio in spoken)
        await wait_until_equal(lambda: len(synthesizer.pids), 2)
        before = synthesizer.pids
        with pytest.raises(RequestNotSupported, match="before"):
            await speak(synthesizer, f"Before. {text}", voice, "beta")
        assert synthesizer.pids == before
        assert await speak(synthesizer, "Goodbye.", voice, "alpha")


async def test_text_of_a_worker_that_was_killed_from_outside_is_spoken_by_another():
    async with aclosing(LocalSynthesizer()) as synthesizer:
        await synthesizer.start()
        os.kill(synthesizer.pids[0], signal.SIGSTOP)  # so that it has a text when it is killed
        spoken = [asyncio.create_task(speak(synthesizer, f"Number {number}.")) for number in range(5)]
        await asyncio.wait(spoken, return_when=asyncio.FIRST_COMPLETED)
        os.kill(synthesizer.pids[0], signal.SIGKILL)
        assert all(len(audio) > 2000 for audio in await asyncio.gather(*spoken))


@on_a_leaping_loop
async def test_hanging_worker_is_killed_and_its_text_is_spoken_by_another():
    async with aclosing(LocalSynthesizer()) as synthesizer:
        await synthesizer.start()
        victim = synthesizer.pids[0]
        os.kill(victim, signal.SIGSTOP)
        held = asyncio.create_task(speak(synthesizer, "Hold on."))
        await asyncio.sleep(0)
        assert await speak(synthesizer, "Goodbye.")
        assert not held.done()
        advance_clock(MAX_RENDER_SECONDS)
        assert len(await held) > 2000
        assert victim not in synthesizer.pids


@on_a_leaping_loop
async def test_tenant_that_keeps_killing_workers_is_refused_for_a_while():
    async with aclosing(LocalSynthesizer(clean=str)) as synthesizer:
        await synthesizer.start()
        outcomes: list[object] = []
        for number in range(80, 84):
            deadly = [speak(synthesizer, f"{mark}'" * number, tenant="alpha") for mark in "s"]
            other = speak(synthesizer, f"Number {number}.", tenant="beta")
            *errors, audio = await asyncio.gather(*deadly, other, return_exceptions=True)
            assert isinstance(audio, bytes)
            outcomes += map(str, errors)
        assert ["too often" in str(outcome) for outcome in outcomes] == [False, False, True, True]
        with pytest.raises(RequestNotSupported, match="too often"):
            await speak(synthesizer, "Goodbye.", tenant="alpha")
        assert await speak(synthesizer, "Goodbye.", tenant="beta")
        advance_clock(CRASH_WINDOW_SECONDS)
        assert await speak(synthesizer, "Goodbye.", tenant="alpha")


async def test_tenant_whose_texts_kill_workers_never_takes_the_last_one():
    async with aclosing(LocalSynthesizer(clean=str)) as synthesizer:
        await synthesizer.start()
        deadly = [asyncio.create_task(speak(synthesizer, "s'" * 80, tenant="alpha"))]
        await wait_until_equal(lambda: len(synthesizer.pids), 1)
        deadly += [asyncio.create_task(speak(synthesizer, "s'" * number, tenant="alpha")) for number in range(81, 90)]
        while not all(task.done() for task in deadly):
            assert await speak(synthesizer, "Yes.", tenant="beta")
            assert synthesizer.pids
        outcomes = await asyncio.gather(*deadly, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RequestNotSupported}


def test_espeak_is_never_loaded_into_the_process_that_speaks():
    script = (
        "import asyncio\n"
        "from vocelio.engine.voice import Voice\n"
        "from vocelio.gateway.speech.local.recognizer import LocalRecognizer\n"
        "from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer\n"
        "async def main():\n"
        "    recognizer, synthesizer = LocalRecognizer(), LocalSynthesizer()\n"
        "    await recognizer.start()\n"
        "    assert [chunk async for chunk in synthesizer.speak('Hello.', Voice())]\n"
        "    await synthesizer.aclose()\n"
        "    await recognizer.aclose()\n"
        "asyncio.run(main())\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert not [name for name in ('espeak', 'pocketsphinx', 'soxr') if name in maps]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)  # noqa: S603 (our own)


async def test_workers_have_no_secrets_and_are_limited(monkeypatch: pytest.MonkeyPatch):
    for name in ("VOCELIO_SECRET_KEY", "TWILIO_AUTH_TOKEN", "AZURE_SPEECH_KEY", "DATABASE_PASSWORD"):
        monkeypatch.setenv(name, "very secret")
    async with aclosing(LocalRecognizer(workers=1)) as recognizer, aclosing(LocalSynthesizer(workers=1)) as synthesizer:
        await recognizer.start()
        await synthesizer.start()
        for pid in recognizer.pids + synthesizer.pids:
            assert "very secret" not in read_proc(pid, "environ")
            limits = read_proc(pid, "limits")
            assert re.search(r"Max core file size +0 ", limits)
            assert re.search(r"Max address space +2147483648 ", limits)


def read_proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


# Recognition


@pytest.mark.parametrize("phrase", ["s'" * 79 + "s", "s's" * 60, "x" * 61])
async def test_deadly_phrase_reaches_no_library(phrase: str):
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        before = recognizer.pids
        with pytest.raises(RequestNotSupported, match="none of the phrases"):
            await recognize(recognizer, PAUSE_AUDIO, RecognitionHints((phrase,)))
        assert recognizer.pids == before


async def test_death_of_a_worker_is_charged_to_the_stream_it_worked_for_and_others_are_moved():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        await recognizer.start()
        hints = RecognitionHints(MENU_HINTS.phrases, tenant="alpha")
        for _ in range(MAX_CRASHES_PER_TENANT):
            await wait_until_equal(lambda: len(recognizer.pids), 2)
            busy, _elsewhere, beside = (RecognitionClient(recognizer, each) for each in (hints, MENU_HINTS, MENU_HINTS))
            for client in (busy, _elsewhere):
                client.feed(PAUSE_AUDIO)
            beside.feed(PAUSE_AUDIO + await synthesize("billing") + PAUSE_AUDIO)
            await asyncio.sleep(0.2)  # so that the worker has nothing else to do
            busy.recognition.feed(bytes(MAX_UTTERANCE_BYTES // 2))  # a second of work
            await asyncio.sleep(0.2)
            os.kill(recognizer.pids[0], signal.SIGKILL)
            with pytest.raises(SpeechError, match="died"):
                await busy.result()
            beside.recognition.finish()
            assert (await beside.result()).text == "billing"
            _elsewhere.recognition.close()
        with pytest.raises(RequestNotSupported, match="too often"):
            RecognitionClient(recognizer, hints)
        assert (await recognize(recognizer, await synthesize("billing"), MENU_HINTS)).text == "billing"


async def test_burst_of_sound_does_not_delay_other_streams():
    """A minute at once takes two seconds: the others get their turns meanwhile, and the workers live."""
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        before, sound = recognizer.pids, await synthesize("billing")
        bursts = [RecognitionClient(recognizer, MENU_HINTS) for _ in range(8)]
        for client in bursts:
            client.recognition.feed(bytes(MAX_UTTERANCE_BYTES))
            client.recognition.finish()
        assert (await recognize(recognizer, sound, MENU_HINTS)).text == "billing"
        for client in bursts:
            client.recognition.close()
        assert (await recognize(recognizer, sound, MENU_HINTS)).text == "billing"
        refused = [client for client in bursts if client.outcome.done() and client.outcome.exception()]
        assert all(isinstance(client.outcome.exception(), RequestNotSupported) for client in refused)
        assert recognizer.pids == before


@on_a_leaping_loop
async def test_input_is_refused_after_two_crashes_and_its_tenant_after_four():
    ledger = CrashLedger("synthesis")
    ledger.record("alpha", b"1")
    ledger.check("alpha", b"1")
    ledger.record("beta", b"1")
    for tenant in ("alpha", "beta", "gamma", ""):
        with pytest.raises(RequestNotSupported, match="before"):
            ledger.check(tenant, b"1")
    for _ in range(3):
        ledger.record("alpha", None)
        ledger.record("", None)
    with pytest.raises(RequestNotSupported, match="too often"):
        ledger.check("alpha", b"2")
    for tenant in ("beta", ""):
        ledger.check(tenant, b"2")
    advance_clock(CRASH_WINDOW_SECONDS)
    ledger.check("alpha", b"2")
