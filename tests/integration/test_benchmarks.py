"""The benches run, and what they count is what was sent; how fast is for `make bench` to say."""

import pytest

from benchmarks import calls, engine_step


@pytest.mark.parametrize("kind", calls.KINDS)
def test_calls(kind):
    row = calls.measure(kind, 2, seconds=1.0)
    assert (row.server, row.calls, row.errors) == (kind, 2, 0)
    assert row.sent >= 2 * 50 * 3
    assert row.received > (row.sent * 0.95 if kind != "listening" else 0)
    assert row.cpu_ms > 0


def test_engine_step():
    assert all(row.p50 >= 0 for row in engine_step.rows(20))
