"""Event loop whose clock can be advanced, so that no test waits for a minute; otherwise it is real time."""

import asyncio
import functools


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be advanced, so that no test waits for a minute."""

    ahead = 0.0

    def time(self):
        return super().time() + self.ahead


def advance_clock(seconds):
    asyncio.get_running_loop().ahead += seconds


def on_a_leaping_loop(test):
    """Run a coroutine test on a LeapingLoop."""

    @functools.wraps(test)
    def wrapper():
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test())

    return wrapper
