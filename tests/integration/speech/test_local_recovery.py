"""Recovery of the local recognizer: after a failed start, and after workers that died, hung or could not be started."""

import asyncio
import os
import resource
import signal
from contextlib import aclosing, contextmanager

import pytest

from tests.support.leaping_loop import advance_clock, on_a_leaping_loop
from tests.support.local_recognition import (
    MENU_HINTS,
    PAUSE_AUDIO,
    RecognitionClient,
    recognize,
    synthesize,
    worker_pids,
)
from tests.support.resource_checks import SOON_SECONDS, wait_until_equal
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local import worker_pool, worker_process
from vocelio.gateway.speech.local.recognizer import FINAL_TIMEOUT_SECONDS, MAX_UTTERANCE_BYTES, LocalRecognizer

PATIENCE = 1.0
"""Seconds until a text, which takes milliseconds; a busy machine may stall for half a second."""


@contextmanager
def limited_open_files(room):
    """Limit how many more files the process can open; starting a worker takes about six."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start_listening(recognizer):
    """Open a recognition without feeding audio."""
    RecognitionClient(recognizer, MENU_HINTS).recognition.close()


async def recognizes(recognizer):
    return (await recognize(recognizer, await synthesize("billing"), MENU_HINTS)).text == "billing"


async def kill_a_worker(recognizer):
    client = RecognitionClient(recognizer, MENU_HINTS)
    client.feed(PAUSE_AUDIO)
    os.kill(recognizer.pids[0], signal.SIGKILL)
    with pytest.raises(SpeechError, match="died"):
        await client.result()
    await recognizer.wait_started()


async def test_recognition_recovers_after_a_start_timeout():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await recognizer.start()
        start_listening(recognizer)
        await recognizer.wait_started()
        assert len(recognizer.pids) == 2
        assert await recognizes(recognizer)
        await recognizer.aclose()
        assert worker_pids() == set()


@pytest.mark.parametrize("room", [0, 2, 3])
async def test_recognition_recovers_after_a_failed_start(room):
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        with limited_open_files(room), pytest.raises(SpeechError, match="files"):
            await recognizer.start()
        assert worker_pids() == set()
        start_listening(recognizer)
        await recognizer.wait_started()
        assert await recognizes(recognizer)


@pytest.mark.parametrize("room", [0, 2, 3])
async def test_recognition_recovers_after_a_failed_restart(room):
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        with limited_open_files(room):
            await kill_a_worker(recognizer)
        assert recognizer.pids == []
        start_listening(recognizer)
        await recognizer.wait_started()
        assert await recognizes(recognizer)


@on_a_leaping_loop
async def test_repeatedly_dying_workers_are_replaced_more_slowly_but_always():
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        for _ in range(worker_pool.MAX_RESTARTS + 1):
            await kill_a_worker(recognizer)
        assert recognizer.pids == []
        with pytest.raises(SpeechError, match="no recognition worker"):
            await recognize(recognizer, PAUSE_AUDIO, MENU_HINTS)
        for _ in range(3):
            advance_clock(worker_pool.RESTART_INTERVAL_SECONDS)
            await wait_until_equal(lambda: len(recognizer.pids), 1)
            assert await recognizes(recognizer)
            await kill_a_worker(recognizer)


async def test_failed_worker_starts_are_rate_limited(caplog):
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        with limited_open_files(0):
            for _ in range(2 * worker_pool.MAX_RESTARTS):
                start_listening(recognizer)
                await recognizer.wait_started()
        assert ["could not be started" in record.getMessage() for record in caplog.records] == [
            True
        ] * worker_pool.MAX_RESTARTS


async def test_only_missing_workers_are_started():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        starting = asyncio.create_task(recognizer.start())
        while not worker_pids():
            start_listening(recognizer)
            await asyncio.sleep(0)
        await starting
        victims = set(recognizer.pids)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await wait_until_equal(lambda: victims & set(recognizer.pids), set())
        for _ in range(5):
            start_listening(recognizer)
        await recognizer.wait_started()
        assert worker_pids() == set(recognizer.pids)
        assert len(recognizer.pids) == 2


async def test_aclose_leaves_no_starting_worker():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        start_listening(recognizer)
        async with asyncio.timeout(SOON_SECONDS):
            while not worker_pids():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0)
        await recognizer.aclose()
        start_listening(recognizer)
        await recognizer.wait_started()
        assert worker_pids() == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def hang_a_worker(recognizer):
    """Stop a worker, and close the utterance sent to it before there is a text."""
    victim = recognizer.pids[0]
    os.kill(victim, signal.SIGSTOP)
    answered = True
    while answered:
        client = RecognitionClient(recognizer, MENU_HINTS)
        client.feed(PAUSE_AUDIO)
        client.recognition.finish()
        answered, _ = await asyncio.wait({client.outcome}, timeout=PATIENCE)
        client.recognition.close()
    return victim


@on_a_leaping_loop
async def test_hanging_worker_gets_no_utterances_and_is_restarted():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        await recognizer.start()
        victim = await hang_a_worker(recognizer)
        for _ in range(3):
            assert await recognizes(recognizer)
        advance_clock(FINAL_TIMEOUT_SECONDS)
        await wait_until_equal(lambda: victim in worker_pids(), False)
        await recognizer.wait_started()
        assert len(recognizer.pids) == 2
        assert await recognizes(recognizer)


@on_a_leaping_loop
async def test_worker_that_does_not_read_ends_the_fastest_stream_and_is_restarted():
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        victim = recognizer.pids[0]
        os.kill(victim, signal.SIGSTOP)
        slow, *fast = (RecognitionClient(recognizer, MENU_HINTS) for _ in range(3))
        slow.feed(PAUSE_AUDIO)
        for client in fast:  # together more than all buffers hold
            client.recognition.feed(bytes(MAX_UTTERANCE_BYTES))
        for _ in range(3):
            slow.feed(PAUSE_AUDIO)
        for client in fast:
            with pytest.raises(RequestNotSupported, match="keep up"):
                await client.result()
        assert not slow.outcome.done()
        advance_clock(worker_process.MAX_LATE_SECONDS)
        with pytest.raises(SpeechError, match="died"):
            await slow.result()
        await wait_until_equal(lambda: victim in worker_pids(), False)
        await recognizer.wait_started()
        assert await recognizes(recognizer)


@on_a_leaping_loop
async def test_worker_that_answers_a_closed_recognition_is_healthy():
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        before = recognizer.pids
        for finished in (False, True):
            client = RecognitionClient(recognizer, MENU_HINTS)
            client.feed(PAUSE_AUDIO)
            if finished:
                client.recognition.finish()
            client.recognition.close()
        assert await recognizes(recognizer)  # so it has gone past the others
        advance_clock(FINAL_TIMEOUT_SECONDS)
        assert await recognizes(recognizer)
        assert recognizer.pids == before


@on_a_leaping_loop
async def test_aclose_with_a_hanging_worker_leaves_no_resources():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        await recognizer.start()
        await hang_a_worker(recognizer)
        await recognizer.aclose()
        advance_clock(FINAL_TIMEOUT_SECONDS)
        await asyncio.sleep(0)
        assert worker_pids() == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}
