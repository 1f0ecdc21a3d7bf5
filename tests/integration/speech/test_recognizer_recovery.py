"""The local recogniser comes back: after a worker that hung."""

import asyncio
import functools
import os
import signal
from contextlib import aclosing

from tests.integration.speech.local_hearing import MENU, PAUSE, Ear, children, hear, say
from tests.integration.speech.machine import SOON, become
from vocelio.gateway.speech.local.recognizer import FINAL_SECONDS, LocalRecognizer


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


async def understands(recognizer):
    return (await hear(recognizer, await say("billing"), MENU)).text == "billing"


async def hang_one(recognizer):
    """Stop a worker; the utterance that goes to it is given up before there is a text."""
    victim = recognizer.pids[0]
    os.kill(victim, signal.SIGSTOP)
    answered = True
    while answered:
        ear = Ear(recognizer, MENU)
        ear.feed(PAUSE)
        ear.recognition.finish()
        answered, _ = await asyncio.wait({ear.outcome}, timeout=SOON)
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
