"""Event loop with virtual time: time passes only when no task is ready, so tests of timeouts take no time."""

import asyncio
import functools
import selectors


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:  # nothing scheduled: only another thread could wake us
            ready = super().select(5)
            if not ready:
                raise RuntimeError("nothing will ever happen in this test")
            return ready
        self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop with virtual time, which starts at 0.0 s."""

    def __init__(self):
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now


def in_virtual_time(test):
    """Run a coroutine test on a VirtualLoop; fail if it leaves tasks."""

    @functools.wraps(test)
    def wrapper(*args, **kwargs):
        async def main():
            await test(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return wrapper
