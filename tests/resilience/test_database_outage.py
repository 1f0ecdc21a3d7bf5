"""The database is paused for 30 s: live calls continue, new callers hear an announcement, everything is stored."""

import pytest

from tests.resilience.database_outage import outage_round


@pytest.mark.timeout(240)
async def test_calls_continue_during_a_database_outage(postgres, capsys):
    result = await outage_round(postgres, 12)
    with capsys.disabled():
        print(f"\n  {result}")  # noqa: T201 (figures to be seen)
    assert result.errors == []
    assert result.still_live == result.wrong_money == 0
    assert "not stored" not in result.outcomes
