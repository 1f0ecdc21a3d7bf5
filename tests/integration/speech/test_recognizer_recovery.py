"""The local recogniser comes back: after a bad start, after workers that died, hung or could not be started."""

import asyncio
import functools
import os
import resource
import signal
from contextlib import aclosing, contextmanager

import pytest

from tests.integration.speech.local_hearing import MENU, PAUSE, Ear, children, hear, say
from tests.integration.speech.machine import SOON, become
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import worker_pool
from vocelio.gateway.speech.local.recognizer import FINAL_SECONDS, LocalRecognizer

PATIENCE = 1.0
"""Seconds that a caller waits for a text. It takes milliseconds; a busy machine may stand still for a half."""


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be put forward: nobody waits for the end of a minute."""

    ahead = 0.0

    def time(self):
        return super().time() + self.ahead


def leap(seconds):
    asyncio.get_running_loop().ahead += seconds


def on_a_leaping_loop(test):
    """Run a coroutine test on a LeapingLoop."""

    @functools.wraps(test)
    def wrapper():
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test())

    return wrapper


@contextmanager
def few_files(room):
    """The process can open so many files more (at most) until this ends: starting a worker takes half a dozen."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def begin(recognizer):
    """Somebody begins to listen, and hears nothing yet."""
    Ear(recognizer, MENU).recognition.close()


async def understands(recognizer):
    return (await hear(recognizer, await say("billing"), MENU)).text == "billing"


async def kill_a_worker(recognizer):
    ear = Ear(recognizer, MENU)
    ear.feed(PAUSE)
    os.kill(recognizer.pids[0], signal.SIGKILL)
    with pytest.raises(SpeechError, match="died"):
        await ear.result()
    await recognizer.settled()


async def test_it_comes_back_after_a_start_that_took_too_long():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await recognizer.start()
        begin(recognizer)
        await recognizer.settled()
        assert len(recognizer.pids) == 2
        assert await understands(recognizer)
        await recognizer.aclose()
        assert children() == set()


@pytest.mark.parametrize("room", [0, 2, 3])
async def test_it_comes_back_after_a_start_that_failed(room):
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        with few_files(room), pytest.raises(SpeechError, match="files"):
            await recognizer.start()
        assert children() == set()
        begin(recognizer)
        await recognizer.settled()
        assert await understands(recognizer)


@pytest.mark.parametrize("room", [0, 2, 3])
async def test_it_comes_back_after_a_worker_could_not_be_replaced(room):
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        with few_files(room):
            await kill_a_worker(recognizer)
        assert recognizer.pids == []
        begin(recognizer)
        await recognizer.settled()
        assert await understands(recognizer)


@on_a_leaping_loop
async def test_workers_that_keep_dying_are_given_up_for_a_while():
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        for _ in range(worker_pool.RESTARTS + 1):
            await kill_a_worker(recognizer)
        begin(recognizer)
        await recognizer.settled()
        assert children() == set()
        with pytest.raises(SpeechError, match="no recognition worker"):
            await hear(recognizer, PAUSE, MENU)
        leap(worker_pool.RESTARTS_SECONDS)
        begin(recognizer)
        await recognizer.settled()
        assert await understands(recognizer)


async def test_workers_that_cannot_be_started_are_tried_at_a_bounded_rate(caplog):
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        with few_files(0):
            for _ in range(2 * worker_pool.RESTARTS):
                begin(recognizer)
                await recognizer.settled()
        assert ["could not be started" in record.getMessage() for record in caplog.records] == [
            True
        ] * worker_pool.RESTARTS


async def test_no_more_workers_are_started_than_are_missing():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        starting = asyncio.create_task(recognizer.start())
        while not children():
            begin(recognizer)
            await asyncio.sleep(0)
        await starting
        victims = set(recognizer.pids)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await become(lambda: victims & set(recognizer.pids), set())
        for _ in range(5):
            begin(recognizer)
        await recognizer.settled()
        assert children() == set(recognizer.pids)
        assert len(recognizer.pids) == 2


async def test_closing_leaves_no_worker_that_is_being_started():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        begin(recognizer)
        async with asyncio.timeout(SOON):
            while not children():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0)
        await recognizer.aclose()
        begin(recognizer)
        await recognizer.settled()
        assert children() == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def hang_one(recognizer):
    """Stop a worker; the utterance that goes to it is given up before there is a text."""
    victim = recognizer.pids[0]
    os.kill(victim, signal.SIGSTOP)
    answered = True
    while answered:
        ear = Ear(recognizer, MENU)
        ear.feed(PAUSE)
        ear.recognition.finish()
        answered, _ = await asyncio.wait({ear.outcome}, timeout=PATIENCE)
        ear.recognition.close()
    return victim


@on_a_leaping_loop
async def test_a_worker_that_hangs_gets_nothing_more_and_is_replaced():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        await recognizer.start()
        victim = await hang_one(recognizer)
        for _ in range(3):
            assert await understands(recognizer)
        leap(FINAL_SECONDS)
        await become(lambda: victim in children(), False)
        await recognizer.settled()
        assert len(recognizer.pids) == 2
        assert await understands(recognizer)


@on_a_leaping_loop
async def test_a_worker_that_has_answered_somebody_who_no_longer_listens_is_well():
    async with aclosing(LocalRecognizer(workers=1)) as recognizer:
        await recognizer.start()
        before = recognizer.pids
        for finished in (False, True):
            ear = Ear(recognizer, MENU)
            ear.feed(PAUSE)
            if finished:
                ear.recognition.finish()
            ear.recognition.close()
        assert await understands(recognizer)  # so it has gone past the others
        leap(FINAL_SECONDS)
        assert await understands(recognizer)
        assert recognizer.pids == before


@on_a_leaping_loop
async def test_closing_while_a_worker_hangs_leaves_nothing():
    async with aclosing(LocalRecognizer(workers=2)) as recognizer:
        await recognizer.start()
        await hang_one(recognizer)
        await recognizer.aclose()
        leap(FINAL_SECONDS)
        await asyncio.sleep(0)
        assert children() == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}
