import asyncio
import selectors

import pytest

from vocelio.gateway.simulator.media.frame_clock import FrameClock


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose time passes only when no task is ready."""

    def __init__(self):
        super().__init__(selectors.SelectSelector())
        self.passed = 0.0
        waiting = self._selector.select
        self._selector.select = lambda timeout=None: self._skip(timeout) or waiting(0)

    def time(self):
        return self.passed

    def _skip(self, seconds):
        self.passed += seconds or 0.0


def in_virtual_time(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


async def run_ticks(late_at: int, late_by: float) -> list[tuple[float, float]]:
    loop = asyncio.get_running_loop()
    pace = FrameClock(loop.time())
    seen = []
    for number in range(100):
        if number == late_at:
            loop.passed += late_by
        seen.append((await pace.tick(), loop.time()))
    return seen


def test_ticks_every_20_ms_without_drift():
    for number, (due, at) in enumerate(in_virtual_time(run_ticks(-1, 0)), start=1):
        assert due == pytest.approx(number * 0.02)
        assert at == pytest.approx(due)


def test_late_tick_does_not_delay_the_next_ones():
    seen = in_virtual_time(run_ticks(10, 0.5))
    assert seen[10][1] == pytest.approx(0.7)
    assert [at for _, at in seen[40:]] == pytest.approx([due for due, _ in seen[40:]])
    assert seen[-1][0] == pytest.approx(2.0)
