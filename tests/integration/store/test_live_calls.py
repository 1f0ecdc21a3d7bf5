"""Live calls for monitors: every shown column is read, and no resume state."""

from sqlalchemy import event

from tests.integration.conftest import NOW
from tests.support.generated_calls import insert_calls, make_call
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import LiveCallRow

STATE = "an encrypted resume state"


def _expected_row(place, **parts):
    facts = {
        "number": "+13072249663",
        "caller": "+13105550142",
        "flow": "front-desk",
        "version": 3,
        "started_at": NOW,
        "disposition": "",
        "department": "",
        "billed_microseconds": 0,
        "cost_micro_usd": 0,
        "generation": 1,
    }
    return LiveCallRow(tenant="harbour", call=f"CA{place:032x}", **facts | parts)


async def test_queries_read_all_shown_columns_but_no_resume_state(database):
    statements = []
    event.listen(database._engine.sync_engine, "before_cursor_execute", lambda *facts: statements.append(facts[2]))
    entered = [("node.entered", NOW, {"node": node, "type": "say"}) for node in ("greet", "bye")]
    await insert_calls(
        database,
        make_call(1, events=entered, ended_at=None, outcome="", resume_state=STATE),
        make_call(2, ended_at=NOW + 1, outcome="lost", resume_state=STATE),
    )
    live_row = _expected_row(1, ended_at=None, outcome="", sequence=2, node="bye")
    ended_row = _expected_row(2, ended_at=NOW + 1, outcome="lost", sequence=0, node="")
    del statements[:]
    assert await live.list_live(database, None) == await live.list_live(database, ["harbour"]) == [live_row]
    assert (
        await live.list_recently_ended(database, None, NOW)
        == await live.list_recently_ended(database, ["harbour"], NOW)
        == [ended_row]
    )
    assert await live.get_many(database, [ended_row.key, live_row.key]) == [live_row, ended_row]
    assert len(statements) >= 7
    assert not [statement for statement in statements if ".resume_state" in statement or ".provider_usage" in statement]
