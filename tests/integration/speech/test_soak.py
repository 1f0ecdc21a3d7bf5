"""A short soak test; `make soak-speech` runs the long one."""

from tests.support.speech_soak import has_no_leaks, soak


async def test_many_sessions_leave_no_resources():
    async for name, batches in soak(20, 40, batches=2, concurrency=4):
        counts = [count async for count in batches]
        assert len(counts) == 2
        assert has_no_leaks(counts), (name, counts)
