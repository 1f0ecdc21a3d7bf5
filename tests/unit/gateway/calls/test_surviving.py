"""What another owner of a call finds, and what becomes of a call that two owners have had."""

import asyncio

import msgspec
import pytest

from tests.unit.gateway.calls.peer import ACCOUNT, CALL, Peer, World
from tests.virtual_time import in_virtual_time
from vocelio.gateway.calls.background.reaper import Watch
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite

WAIT = {"name": "Wait", "start": "wait", "nodes": {"wait": {"type": "wait", "seconds": 400, "exits": {}}}}
BYE = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}
RING = {
    "name": "Ring",
    "start": "ring",
    "nodes": {"ring": {"type": "transfer", "department": "sales", "exits": {"failed": "ring", "busy": "ring"}}},
}


def started(world):
    return Peer(world, world.token())


def another_process(world):
    """Another registry on the same store."""
    other = Calls(world.calls.services)
    other._tickets = world.calls._tickets  # processes share their keys
    return other


@in_virtual_time
async def test_a_live_call_is_kept_with_its_cost_while_nothing_happens_in_it():
    world = World(WAIT, rates={"local": 60_000})
    watch = Watch(world.calls)
    await watch.start()
    peer = started(world)
    await peer.run(100)
    assert 80_000_000 <= world.kept.billed <= 100_000_000
    assert world.kept.due > world.calls.services.wall()
    await watch.aclose()
    await peer.gone()
    await asyncio.sleep(5)


@in_virtual_time
async def test_whoever_was_taken_for_dead_and_is_not_has_the_last_word():
    world = World(WAIT, rates={"local": 60_000})
    peer = started(world)
    await peer.run(100)
    await another_process(world).settle(await world.journal.find(CALL, ACCOUNT))
    assert world.kept.outcome == "lost"
    await peer.run(10)
    peer.numbered("stop", stop={})
    await asyncio.sleep(1)
    assert (world.kept.outcome, world.kept.billed) == ("abandoned", pytest.approx(110_000_000, abs=500_000))
    assert [event["outcome"] for event in world.of("call.ended")] == ["lost", "abandoned"]
    await peer.gone()


@in_virtual_time
async def test_an_older_stream_can_do_nothing_when_another_process_has_the_call():
    world = World(WAIT)
    peer = started(world)
    await peer.run(1)
    assert await another_process(world).redeem(world.token(), ACCOUNT, CALL)
    assert (await world.calls.dispatch.command("harbour", CALL, "say", "Hello.")).verdict == "accepted"
    await peer.run(2)
    assert peer.code == 1000
    assert peer.spoken() == 0
    assert world.kept.generation == 2
    await peer.gone()


@in_virtual_time
async def test_an_older_stream_takes_no_command_when_another_process_has_the_call():
    world = World(WAIT)
    peer = started(world)
    await peer.run(1)
    for generation, verdict in ((1, "accepted"), (2, "not_here")):
        if generation == 2:
            assert await another_process(world).redeem(world.token(), ACCOUNT, CALL)
        assert world.kept.generation == generation
        reaction = await world.calls.dispatch.command("harbour", CALL, "say", "Hello.", generation=generation)
        assert reaction.verdict == verdict
    assert len(world.of("operator.commanded")) == 1
    await peer.gone()
    await asyncio.sleep(5)


@in_virtual_time
async def test_a_stream_of_a_call_that_was_about_to_end_ends_it():
    world = World(BYE)
    token = world.token()
    peer = started(world)
    await peer.run(0.2)
    ended = {"outcome": "completed", "action": "hang_up"}
    state = {**world.kept.state, "intent": ended, "checkpoint": {**world.kept.state["checkpoint"], "ended": True}}
    world.journal.calls[CALL] = msgspec.structs.replace(world.kept, state=state)
    again = Peer(world, world.token())
    await again.run(1)
    assert again.code == 1000
    assert world.kept.outcome == "completed"
    late = Peer(world, token)
    await late.admitted()
    assert late.code == 1008
    for one in (peer, again, late):
        await one.gone()


@in_virtual_time
async def test_a_state_that_cannot_be_used_closes_the_stream_at_once(caplog):
    world = World(WAIT)
    peer = started(world)
    await peer.run(1)
    await peer.gone()
    state = {**world.kept.state, "checkpoint": {"of": "another release"}}
    world.journal.calls[CALL] = msgspec.structs.replace(world.kept, state=state)
    again = started(world)
    await again.admitted()
    assert again.code == 1011
    assert "could not be gone on with" in caplog.text
    await again.gone()
    await asyncio.sleep(5)


@in_virtual_time
async def test_one_call_that_cannot_be_read_does_not_keep_the_sweep_from_the_others(caplog):
    world = World(WAIT)
    peer = started(world)
    await peer.run(1)
    await peer.gone()
    await asyncio.sleep(5)
    broken = msgspec.structs.replace(world.kept, id="CA" + "8" * 32, ended=0, outcome="", due=1, state={"meter": 5})
    world.journal.calls[broken.id] = broken
    await world.calls.settle(await world.journal.find(broken.id, ACCOUNT))
    assert world.journal.calls[broken.id].outcome == "failed"
    assert "cannot be read" in caplog.text


class Hesitant(MemorySite):
    """Takes half a second to count transfers."""

    async def transfers(self, tenant, since):
        await asyncio.sleep(0.5)
        return await super().transfers(tenant, since)


@in_virtual_time
async def test_what_an_operator_says_while_a_transfer_is_cleared_does_not_lose_it():
    world = World(RING, site=Hesitant)
    peer = started(world)
    await peer.admitted()
    world.calls.live[CALL].commanded("say", "Hello.")
    await peer.run(3)
    assert len(world.of("transfer.started")) == 1
    await peer.gone()


class Slow(MemoryJournal):
    """Takes two seconds for each commit."""

    def save(self, call, committed=lambda: None, overtaken=lambda: None):
        loop = asyncio.get_running_loop()
        loop.call_later(2.0 if loop.time() > 0.5 else 0.0, super().save, call, committed, overtaken)


@in_virtual_time
async def test_with_a_slow_store_a_caller_is_asked_to_wait_again_and_hears_all_of_it():
    talk = {f"say{n}": {"type": "say", "text": "Hi.", "exits": {"next": f"say{n + 1}"}} for n in range(4)}
    nodes = talk | {"say4": {"type": "hangup", "text": "Goodbye."}}
    world = World({"name": "Slow", "start": "say0", "nodes": nodes}, journal=Slow())
    peer = started(world)
    await peer.run(40)
    said = [event["text"] for event in world.of("prompt.started")]
    assert [text for text in said if text != "One moment, please."] == ["Hi."] * 4 + ["Goodbye."]
    assert said.count("One moment, please.") >= 3
    assert peer.code == 1000
    await peer.gone()
    await asyncio.sleep(10)


@in_virtual_time
async def test_another_accounts_word_ends_no_call():
    world = World(WAIT)
    peer = started(world)
    await peer.run(1)
    await world.calls.over("AC" + "9" * 32, CALL)
    await peer.run(10)
    assert (peer.code, world.record.outcome) == (None, "")
    peer.numbered("stop", stop={})
    await peer.gone()


@pytest.mark.parametrize("boundary", [True, False])
def test_a_call_is_handed_over(boundary):
    @in_virtual_time
    async def handed():
        nodes = {
            "wait": {"type": "wait", "seconds": 5 if boundary else 50, "exits": {"next": "say"}},
            "say": {"type": "say", "text": "Here I am.", "exits": {}},
        }
        world = World({"name": "Hand over", "start": "wait", "nodes": nodes})
        peer = started(world)
        await peer.run(2)
        world.calls.live[CALL].hand_over()
        await peer.run(3.5)
        if not boundary:
            assert peer.code is None
            world.calls.live[CALL].hand_over(now=True)
        assert peer.code == 1000
        assert peer.spoken() == 0
        assert world.of("call.handed_over") == [{"between": boundary}]
        await peer.gone()
        again = started(world)
        await again.run(3 if boundary else 55)
        assert world.of("call.resumed") == [{"planned": True}]
        (first, *_) = [event["text"] for event in world.of("prompt.started")]
        assert first == ("" if boundary else "Sorry, let's go on. ") + "Here I am."
        assert world.record.resumed == []
        await again.gone()
        await asyncio.sleep(5)

    handed()
