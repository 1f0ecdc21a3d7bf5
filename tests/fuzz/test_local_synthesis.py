"""Fuzz local synthesis; `make fuzz-synthesis` does it with 100,000 texts."""

from tests.support.local_recognition import worker_pids
from tests.support.synthesis_fuzz import fuzz

TEXTS = 400


async def test_no_text_is_lost_and_only_workers_die():
    figures = await fuzz(TEXTS, seed=1)
    assert figures.lost == []
    assert sum(figures.outcomes.values()) == TEXTS + figures.outcomes["canaries"]
    assert figures.outcomes["spoken"] > TEXTS / 2
    assert worker_pids() == set()
