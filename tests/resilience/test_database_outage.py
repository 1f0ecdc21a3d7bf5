"""The database stands still for half a minute: live calls go on, new ones are told, and everything is kept."""

import pytest

from tests.resilience.database_outage import outage_round


@pytest.mark.timeout(240)
async def test_half_a_minute_without_the_database(postgres, capsys):
    found = await outage_round(postgres, 12)
    with capsys.disabled():
        print(f"\n  {found}")  # noqa: T201 (figures to be seen)
    assert found.errors == []
    assert found.still_live == found.wrong_money == 0
    assert "not kept" not in found.outcomes
