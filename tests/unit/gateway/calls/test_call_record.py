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


def start_call(env):
    return TwilioPeer(env, env.stream_token())


def save_resume_state(env, state):
    encoded = msgspec.json.encode(state)
    env.call_store.calls[CALL] = msgspec.structs.replace(env.stored_call, resume_state=encoded)


def other_process(env):
    """The calls of another process on the same store."""
    return build_call_components(env.calls.services, [SIGNING_KEY])


@in_virtual_time
async def test_heartbeat_saves_an_idle_call_with_its_cost():
    env = CallEnv(WAIT_FLOW, rates={"local": 60_000})
    watch = env.calls.reaper
    await watch.start()
    peer = start_call(env)
    await peer.run(100)
    assert 80_000_000 <= env.stored_call.billed_microseconds <= 100_000_000
    assert env.stored_call.due_at > env.calls.services.wall_clock()
    await watch.aclose()
    await peer.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_live_stream_overrides_the_end_that_another_process_saved():
    env = CallEnv(WAIT_FLOW, rates={"local": 60_000})
    peer = start_call(env)
    await peer.run(100)
    await other_process(env).lifecycle.end_if_expired(await env.call_store.find(CALL, ACCOUNT))
    assert env.stored_call.outcome == "lost"
    await peer.run(10)
    peer.deliver_numbered("stop", stop={})
    await asyncio.sleep(1)
    assert (env.stored_call.outcome, env.stored_call.billed_microseconds) == (
        "abandoned",
        pytest.approx(110_000_000, abs=500_000),
    )
    assert [event["outcome"] for event in env.data_of("call.ended")] == ["lost", "abandoned"]
    await peer.disconnect()


@in_virtual_time
async def test_superseded_stream_closes_at_its_next_save():
    env = CallEnv(WAIT_FLOW)
    peer = start_call(env)
    await peer.run(1)
    assert await other_process(env).registry.accept_stream(env.stream_token(), ACCOUNT, CALL)
    assert (await env.calls.command_router.execute_command("harbour", CALL, "say", "Hello.")).verdict == "accepted"
    await peer.run(2)
    assert peer.close_code == 1000
    assert peer.sent_seconds() == 0
    assert env.stored_call.generation == 2
    await peer.disconnect()


@in_virtual_time
async def test_superseded_stream_rejects_commands_for_the_new_generation():
    env = CallEnv(WAIT_FLOW)
    peer = start_call(env)
    await peer.run(1)
    for generation, verdict in ((1, "accepted"), (2, "not_here")):
        if generation == 2:
            assert await other_process(env).registry.accept_stream(env.stream_token(), ACCOUNT, CALL)
        assert env.stored_call.generation == generation
        reaction = await env.calls.command_router.execute_command(
            "harbour", CALL, "say", "Hello.", generation=generation
        )
        assert reaction.verdict == verdict
    assert len(env.data_of("operator.command")) == 1
    await peer.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_stream_of_a_hanging_up_call_ends_it():
    env = CallEnv(HANGUP_FLOW)
    token = env.stream_token()
    peer = start_call(env)
    await peer.run(0.2)
    ended = {"outcome": "completed", "action": "hang_up"}
    state = msgspec.json.decode(env.stored_call.resume_state)
    state |= {"phase": {"phase": "hanging_up", "hang_up": ended}, "checkpoint": {**state["checkpoint"], "ended": True}}
    save_resume_state(env, state)
    again = TwilioPeer(env, env.stream_token())
    await again.run(1)
    assert again.close_code == 1000
    assert env.stored_call.outcome == "completed"
    late = TwilioPeer(env, token)
    await late.wait_admission()
    assert late.close_code == 1008
    for item in (peer, again, late):
        await item.disconnect()


@in_virtual_time
async def test_unreadable_checkpoint_closes_the_stream(caplog):
    env = CallEnv(WAIT_FLOW)
    peer = start_call(env)
    await peer.run(1)
    await peer.disconnect()
    state = msgspec.json.decode(env.stored_call.resume_state)
    save_resume_state(env, state | {"checkpoint": {"of": "another release"}})
    again = start_call(env)
    await again.wait_admission()
    assert again.close_code == 1011
    assert "could not start its session" in caplog.text
    await again.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_expired_call_with_unreadable_state_ends_as_failed(caplog):
    env = CallEnv(WAIT_FLOW)
    peer = start_call(env)
    await peer.run(1)
    await peer.disconnect()
    await asyncio.sleep(5)
    broken = msgspec.structs.replace(
        env.stored_call, id="CA" + "8" * 32, ended_at=0, outcome="", due_at=1, resume_state=b'{"meter": 5}'
    )
    env.call_store.calls[broken.id] = broken
    await env.calls.lifecycle.end_if_expired(await env.call_store.find(broken.id, ACCOUNT))
    assert env.call_store.calls[broken.id].outcome == "failed"
    assert "cannot be read" in caplog.text


class SlowDirectory(InMemoryDirectory):
    """Takes half a second to count transfers."""

    async def count_transfers(self, tenant, since):
        await asyncio.sleep(0.5)
        return await super().count_transfers(tenant, since)


@in_virtual_time
async def test_operator_prompt_during_authorization_keeps_the_transfer():
    env = CallEnv(TRANSFER_FLOW, site=SlowDirectory)
    peer = start_call(env)
    await peer.wait_admission()
    env.registry.live_calls[CALL].execute_command("say", "Hello.")
    await peer.run(3)
    assert len(env.data_of("transfer.started")) == 1
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
    env = CallEnv({"name": "Slow", "start": "say0", "nodes": nodes}, call_store=SlowCallStore())
    peer = start_call(env)
    await peer.run(40)
    said = [event["text"] for event in env.data_of("prompt.started")]
    assert [text for text in said if text != "One moment, please."] == ["Hi."] * 4 + ["Goodbye."]
    assert said.count("One moment, please.") >= 3
    assert peer.close_code == 1000
    await peer.disconnect()
    await asyncio.sleep(10)


@in_virtual_time
async def test_status_of_another_account_is_ignored():
    env = CallEnv(WAIT_FLOW)
    peer = start_call(env)
    await peer.run(1)
    await env.registry.on_call_completed("AC" + "9" * 32, CALL)
    await peer.run(10)
    assert (peer.close_code, env.call_record.stored.outcome) == (None, "")
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
        env = CallEnv({"name": "Hand over", "start": "wait", "nodes": nodes})
        peer = start_call(env)
        await peer.run(2)
        env.registry.live_calls[CALL].hand_off()
        await peer.run(3.5)
        if not boundary:
            assert peer.close_code is None
            env.registry.live_calls[CALL].hand_off(immediately=True)
        assert peer.close_code == 1000
        assert peer.sent_seconds() == 0
        assert env.data_of("call.handed_off") == [{"between_prompts": boundary}]
        await peer.disconnect()
        again = start_call(env)
        await again.run(3 if boundary else 55)
        assert env.data_of("call.resumed") == [{"planned": True}]
        (first, *_) = [event["text"] for event in env.data_of("prompt.started")]
        assert first == ("" if boundary else "Sorry, let's go on. ") + "Here I am."
        assert env.call_record.resume.resume_times == []
        await again.disconnect()
        await asyncio.sleep(5)

    handed()
