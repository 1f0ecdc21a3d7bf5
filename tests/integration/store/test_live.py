"""Calls as monitors see them: what is read of each, and nothing besides."""

from sqlalchemy import event

from tests.integration.store.conftest import NOW
from tests.integration.store.history import keep, made
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import KeptCall

STATE = "the encrypted state of a call, some kilobytes"


def _kept(place, **parts):
    facts = {
        "number": "+13072249663",
        "caller": "+13105550142",
        "flow": "front-desk",
        "version": 3,
        "started": NOW,
        "disposition": "",
        "department": "",
        "billed": 0,
        "micro_usd": 0,
        "generation": 1,
    }
    return KeptCall(tenant="harbour", call=f"CA{place:032x}", **facts | parts)


async def test_all_of_a_picture_is_read_and_no_state(database):
    asked = []
    event.listen(database._engine.sync_engine, "before_cursor_execute", lambda *facts: asked.append(facts[2]))
    entered = [("node.entered", NOW, {"node": node, "type": "say"}) for node in ("greet", "bye")]
    await keep(
        database,
        made(1, events=entered, ended=None, outcome="", state=STATE),
        made(2, ended=NOW + 1, outcome="lost", state=STATE),
    )
    going = _kept(1, ended=None, outcome="", seq=2, node="bye")
    over = _kept(2, ended=NOW + 1, outcome="lost", seq=0, node="")
    del asked[:]
    assert await live.live(database, None) == await live.live(database, ["harbour"]) == [going]
    assert await live.recent(database, None, NOW) == await live.recent(database, ["harbour"], NOW) == [over]
    assert await live.these(database, [over.key, going.key]) == [going, over]
    assert len(asked) >= 7
    assert not [statement for statement in asked if ".state" in statement or ".speech" in statement]
