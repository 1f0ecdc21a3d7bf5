"""Calls across owners: resume, take-over, handoff, and saves of a superseded stream."""

import asyncio

import msgspec
import pytest

from tests.support.twilio_peer import ACCOUNT, CALL, SIGNING_KEY, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory

WAIT_FLOW = {"name": "Wait", "start": "wait", "nodes": {"wait": {"type": "wait", "seconds": 400, "exits": {}}}}
HANGUP_FLOW = {"name": "Bye", "start": "bye", "nodes": {"bye": {"type": "hangup", "text": "Goodbye."}}}
TRANSFER_FLOW = {
    "name": "Ring",
    "start": "ring",
    "nodes": {"ring": {"type": "transfer", "department": "sales", "exits": {"failed": "ring", "busy": "ring"}}},
}


def start_call(world):
    return TwilioPeer(world, world.stream_token())


def save_resume_state(world, state):
    encoded = msgspec.json.encode(state)
    world.call_store.calls[CALL] = msgspec.structs.replace(world.stored_call, resume_state=encoded)


def other_process(world):
    """The calls of another process on the same store."""
    return build_call_components(world.calls.services, [SIGNING_KEY])


@in_virtual_time
async def test_heartbeat_saves_an_idle_call_with_its_cost():
    world = CallEnv(WAIT_FLOW, rates={"local": 60_000})
    watch = world.calls.reaper
    await watch.start()
    peer = start_call(world)
    await peer.run(100)
    assert 80_000_000 <= world.stored_call.billed_microseconds <= 100_000_000
    assert world.stored_call.due_at > world.calls.services.wall_clock()
    await watch.aclose()
    await peer.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_live_stream_overrides_the_end_that_another_process_saved():
    world = CallEnv(WAIT_FLOW, rates={"local": 60_000})
    peer = start_call(world)
    await peer.run(100)
    await other_process(world).lifecycle.end_if_expired(await world.call_store.find(CALL, ACCOUNT))
    assert world.stored_call.outcome == "lost"
    await peer.run(10)
    peer.deliver_numbered("stop", stop={})
    await asyncio.sleep(1)
    assert (world.stored_call.outcome, world.stored_call.billed_microseconds) == (
        "abandoned",
        pytest.approx(110_000_000, abs=500_000),
    )
    assert [event["outcome"] for event in world.data_of("call.ended")] == ["lost", "abandoned"]
    await peer.disconnect()


@in_virtual_time
async def test_superseded_stream_closes_at_its_next_save():
    world = CallEnv(WAIT_FLOW)
    peer = start_call(world)
    await peer.run(1)
    assert await other_process(world).registry.accept_stream(world.stream_token(), ACCOUNT, CALL)
    assert (await world.calls.command_router.execute_command("harbour", CALL, "say", "Hello.")).verdict == "accepted"
    await peer.run(2)
    assert peer.close_code == 1000
    assert peer.sent_seconds() == 0
    assert world.stored_call.generation == 2
    await peer.disconnect()


@in_virtual_time
async def test_superseded_stream_rejects_commands_for_the_new_generation():
    world = CallEnv(WAIT_FLOW)
    peer = start_call(world)
    await peer.run(1)
    for generation, verdict in ((1, "accepted"), (2, "not_here")):
        if generation == 2:
            assert await other_process(world).registry.accept_stream(world.stream_token(), ACCOUNT, CALL)
        assert world.stored_call.generation == generation
        reaction = await world.calls.command_router.execute_command(
            "harbour", CALL, "say", "Hello.", generation=generation
        )
        assert reaction.verdict == verdict
    assert len(world.data_of("operator.command")) == 1
    await peer.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_stream_of_a_hanging_up_call_ends_it():
    world = CallEnv(HANGUP_FLOW)
    token = world.stream_token()
    peer = start_call(world)
    await peer.run(0.2)
    ended = {"outcome": "completed", "action": "hang_up"}
    state = msgspec.json.decode(world.stored_call.resume_state)
    state |= {"phase": {"phase": "hanging_up", "hang_up": ended}, "checkpoint": {**state["checkpoint"], "ended": True}}
    save_resume_state(world, state)
    again = TwilioPeer(world, world.stream_token())
    await again.run(1)
    assert again.close_code == 1000
    assert world.stored_call.outcome == "completed"
    late = TwilioPeer(world, token)
    await late.wait_admission()
    assert late.close_code == 1008
    for one in (peer, again, late):
        await one.disconnect()


@in_virtual_time
async def test_unreadable_checkpoint_closes_the_stream(caplog):
    world = CallEnv(WAIT_FLOW)
    peer = start_call(world)
    await peer.run(1)
    await peer.disconnect()
    state = msgspec.json.decode(world.stored_call.resume_state)
    save_resume_state(world, state | {"checkpoint": {"of": "another release"}})
    again = start_call(world)
    await again.wait_admission()
    assert again.close_code == 1011
    assert "could not start its session" in caplog.text
    await again.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_expired_call_with_unreadable_state_ends_as_failed(caplog):
    world = CallEnv(WAIT_FLOW)
    peer = start_call(world)
    await peer.run(1)
    await peer.disconnect()
    await asyncio.sleep(5)
    broken = msgspec.structs.replace(
        world.stored_call, id="CA" + "8" * 32, ended_at=0, outcome="", due_at=1, resume_state=b'{"meter": 5}'
    )
    world.call_store.calls[broken.id] = broken
    await world.calls.lifecycle.end_if_expired(await world.call_store.find(broken.id, ACCOUNT))
    assert world.call_store.calls[broken.id].outcome == "failed"
    assert "cannot be read" in caplog.text


class SlowDirectory(InMemoryDirectory):
    """Takes half a second to count transfers."""

    async def count_transfers(self, tenant, since):
        await asyncio.sleep(0.5)
        return await super().count_transfers(tenant, since)


@in_virtual_time
async def test_operator_prompt_during_authorization_keeps_the_transfer():
    world = CallEnv(TRANSFER_FLOW, site=SlowDirectory)
    peer = start_call(world)
    await peer.wait_admission()
    world.registry.live_calls[CALL].execute_command("say", "Hello.")
    await peer.run(3)
    assert len(world.data_of("transfer.started")) == 1
    await peer.disconnect()


class SlowCallStore(InMemoryCallStore):
    """Takes two seconds for each commit."""

    def save(self, call, on_committed=lambda: None, on_superseded=lambda: None):
        loop = asyncio.get_running_loop()
        loop.call_later(2.0 if loop.time() > 0.5 else 0.0, super().save, call, on_committed, on_superseded)


@in_virtual_time
async def test_slow_store_plays_hold_prompts_and_loses_no_prompt():
    talk = {f"say{n}": {"type": "say", "text": "Hi.", "exits": {"next": f"say{n + 1}"}} for n in range(4)}
    nodes = talk | {"say4": {"type": "hangup", "text": "Goodbye."}}
    world = CallEnv({"name": "Slow", "start": "say0", "nodes": nodes}, call_store=SlowCallStore())
    peer = start_call(world)
    await peer.run(40)
    said = [event["text"] for event in world.data_of("prompt.started")]
    assert [text for text in said if text != "One moment, please."] == ["Hi."] * 4 + ["Goodbye."]
    assert said.count("One moment, please.") >= 3
    assert peer.close_code == 1000
    await peer.disconnect()
    await asyncio.sleep(10)


@in_virtual_time
async def test_status_of_another_account_is_ignored():
    world = CallEnv(WAIT_FLOW)
    peer = start_call(world)
    await peer.run(1)
    await world.registry.on_call_completed("AC" + "9" * 32, CALL)
    await peer.run(10)
    assert (peer.close_code, world.call_record.stored.outcome) == (None, "")
    peer.deliver_numbered("stop", stop={})
    await peer.disconnect()


@pytest.mark.parametrize("boundary", [True, False])
def test_call_is_handed_off_and_resumed(boundary):
    @in_virtual_time
    async def handed():
        nodes = {
            "wait": {"type": "wait", "seconds": 5 if boundary else 50, "exits": {"next": "say"}},
            "say": {"type": "say", "text": "Here I am.", "exits": {}},
        }
        world = CallEnv({"name": "Hand over", "start": "wait", "nodes": nodes})
        peer = start_call(world)
        await peer.run(2)
        world.registry.live_calls[CALL].hand_off()
        await peer.run(3.5)
        if not boundary:
            assert peer.close_code is None
            world.registry.live_calls[CALL].hand_off(immediately=True)
        assert peer.close_code == 1000
        assert peer.sent_seconds() == 0
        assert world.data_of("call.handed_off") == [{"between_prompts": boundary}]
        await peer.disconnect()
        again = start_call(world)
        await again.run(3 if boundary else 55)
        assert world.data_of("call.resumed") == [{"planned": True}]
        (first, *_) = [event["text"] for event in world.data_of("prompt.started")]
        assert first == ("" if boundary else "Sorry, let's go on. ") + "Here I am."
        assert world.call_record.resume.resume_times == []
        await again.disconnect()
        await asyncio.sleep(5)

    handed()
