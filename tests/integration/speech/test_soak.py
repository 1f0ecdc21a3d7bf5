"""The soak runs, in short; `make soak-speech` is the long one."""

from tests.support.speech_soak import has_no_leaks, soak


async def test_nothing_is_left_of_many_sessions():
    async for name, batches in soak(20, 40, batches=2, concurrency=4):
        counts = [count async for count in batches]
        assert len(counts) == 2
        assert has_no_leaks(counts), (name, counts)
