"""Side effects wait for their commit; what callers hear while the store is slow or unavailable."""

import asyncio

import msgspec
import pytest

from tests.support.twilio_peer import ACCOUNT, CALL, NUMBER, TENANT, CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.call_record import read_resume_state
from vocelio.gateway.calls.lifecycle import SILENT_SECONDS, IncomingCall
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.providers import SpeechServices
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory


def make_flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


TRANSFER_FLOW = make_flow(
    talk={"type": "say", "text": "A", "exits": {"next": "ring"}},
    ring={"type": "transfer", "department": "sales", "exits": {"failed": "sorry"}},
    sorry={"type": "hangup", "text": "Nobody can be reached."},
)
HANGUP_FLOW = make_flow(bye={"type": "hangup", "text": "Goodbye."})


class SlowCallStore(InMemoryCallStore):
    """Commits nothing between two instants: what is saved then waits."""

    def __init__(self, until, since=0.03):
        super().__init__()
        self.since, self.until, self.waiting = since, until, []

    def save(self, call, on_committed=lambda: None, on_superseded=lambda: None):
        loop = asyncio.get_running_loop()
        if not self.since <= loop.time() < self.until:
            super().save(call, on_committed, on_superseded)
            return
        if not self.waiting:
            loop.call_at(self.until, self.flush)
        self.waiting.append((call, on_committed, on_superseded))

    def flush(self):
        for waiting in self.waiting:
            super().save(*waiting)


def make_incoming_calls(count):
    """So many callers."""
    return [IncomingCall(f"CA{place:032x}", ACCOUNT, NUMBER, "+13105550142") for place in range(count)]


async def full_process(until):
    """A process with room for one call, whose store commits nothing until then; and who calls."""
    call_env = CallEnv(HANGUP_FLOW, call_store=SlowCallStore(until))
    call_env.calls.admission.max_calls = 1
    await asyncio.sleep(0.1)
    (incoming,) = make_incoming_calls(1)
    return call_env, incoming


def start_call(call_env):
    return TwilioPeer(call_env, call_env.stream_token())


def spoken_texts(call_env):
    return [event["text"] for event in call_env.data_of("prompt.started")]


@in_virtual_time
async def test_transfer_starts_after_its_commit():
    call_env = CallEnv(TRANSFER_FLOW, call_store=SlowCallStore(until=5))
    peer = start_call(call_env)
    await peer.run(4)
    assert peer.close_code is None, "the socket is open: nothing is done before it is certain"
    assert call_env.data_of("transfer.started") == []
    spoken = peer.sent_seconds()
    await peer.run(2)
    assert peer.close_code == 1000
    assert spoken > 0.5, "the caller was asked to wait a moment"
    kept = call_env.call_store.calls[CALL]
    assert read_resume_state(kept).phase.transfer.department == "sales"
    await peer.disconnect()


@in_virtual_time
async def test_fast_commit_plays_no_hold_prompt():
    call_env = CallEnv(TRANSFER_FLOW)
    peer = start_call(call_env)
    await peer.run(3)
    assert (peer.close_code, spoken_texts(call_env)) == (1000, ["A"])
    await peer.disconnect()


@in_virtual_time
async def test_commit_timeout_fails_the_transfer_and_the_flow_continues():
    call_env = CallEnv(TRANSFER_FLOW, call_store=SlowCallStore(until=1_000))
    peer = start_call(call_env)
    await peer.run(20)
    assert spoken_texts(call_env) == ["A", *["One moment, please."] * 3, "Nobody can be reached."]
    assert call_env.data_of("database.unavailable") == [{"timeout_seconds": 10.0}]
    await peer.run(2)
    assert peer.close_code == 1000, "hanging up needs nobody, and nobody waits for it in silence"
    assert call_env.data_of("call.ended") == [], "that is told when it is certain"
    await asyncio.sleep(1_000)
    assert [event["outcome"] for event in call_env.data_of("call.ended")] == ["completed"]
    await peer.disconnect()


@in_virtual_time
async def test_hangup_before_the_commit_ends_the_call_without_a_transfer():
    call_env = CallEnv(TRANSFER_FLOW, call_store=SlowCallStore(until=30))
    peer = start_call(call_env)
    await peer.run(4)
    peer.deliver_numbered("stop", stop={})
    assert peer.close_code == 1000
    await asyncio.sleep(60)
    assert call_env.data_of("transfer.started") == []
    assert [event["outcome"] for event in call_env.data_of("call.ended")] == ["abandoned"]
    await peer.disconnect()


@in_virtual_time
async def test_operator_hangup_replaces_a_transfer_before_its_commit():
    call_env = CallEnv(TRANSFER_FLOW, call_store=SlowCallStore(until=9))
    peer = start_call(call_env)
    await peer.run(4)
    assert (await call_env.calls.command_router.execute_command("harbour", CALL, "hang_up")).verdict == "accepted"
    await peer.run(10)
    assert peer.close_code == 1000
    await asyncio.sleep(5)
    assert call_env.data_of("transfer.started") == []
    assert call_env.call_record.stored.outcome == "completed"
    await peer.disconnect()


class SlowDirectory(InMemoryDirectory):
    """Takes half a second to count transfers."""

    async def count_transfers(self, tenant, since):
        await asyncio.sleep(0.5)
        return await super().count_transfers(tenant, since)


@in_virtual_time
async def test_hang_up_by_an_operator_is_not_replaced_by_a_late_authorization():
    call_env = CallEnv(TRANSFER_FLOW, site=SlowDirectory, call_store=SlowCallStore(until=30))
    peer = start_call(call_env)
    await peer.run(1.5)
    assert (await call_env.calls.command_router.execute_command("harbour", CALL, "hang_up")).verdict == "accepted"
    await peer.run(5)
    assert peer.close_code == 1000
    await asyncio.sleep(60)
    assert call_env.data_of("transfer.started") == []
    assert call_env.call_record.stored.outcome == "completed"
    await peer.disconnect()


@in_virtual_time
async def test_handoff_that_is_not_committed_continues_without_the_store_and_is_repeated_later():
    flow = make_flow(
        wait={"type": "wait", "seconds": 5, "exits": {"next": "first"}},
        first={"type": "say", "text": "First.", "exits": {"next": "pause"}},
        pause={"type": "wait", "seconds": 20, "exits": {"next": "second"}},
        second={"type": "say", "text": "Second.", "exits": {}},
    )
    call_env = CallEnv(flow, call_store=SlowCallStore(until=30))
    peer = start_call(call_env)
    await peer.run(2)
    call_env.registry.live_calls[CALL].hand_off()
    await peer.run(20)
    assert (peer.close_code, call_env.data_of("database.unavailable")) == (None, [{"timeout_seconds": 10.0}])
    assert spoken_texts(call_env) == [*["One moment, please."] * 3, "First."]
    await peer.run(20)
    assert (peer.close_code, call_env.data_of("call.handed_off")) == (1000, [{"between_prompts": True}])
    await peer.disconnect()
    again = start_call(call_env)
    await again.run(3)
    assert (spoken_texts(call_env)[4], call_env.call_record.resume.resume_times) == ("Second.", [])
    await again.disconnect()
    await asyncio.sleep(5)


@in_virtual_time
async def test_commands_reach_only_live_calls_of_the_tenant():
    call_env = CallEnv(make_flow(wait={"type": "wait", "seconds": 60, "exits": {}}))
    peer = start_call(call_env)
    await peer.run(1)
    assert (await call_env.calls.command_router.execute_command("another", CALL, "say", "Hello.")).verdict == "not_here"
    assert (
        await call_env.calls.command_router.execute_command("harbour", "CA" + "9" * 32, "say", "Hello.")
    ).verdict == "not_here"
    assert (
        await call_env.calls.command_router.execute_command("harbour", CALL, "say", "Your table is ready.")
    ).verdict == "accepted"
    await peer.run(4)
    assert spoken_texts(call_env) == ["Your table is ready."]
    assert (
        await call_env.calls.command_router.execute_command("harbour", CALL, "transfer", "desk")
    ).verdict == "accepted"
    await peer.run(0.1)
    assert peer.close_code == 1000
    assert call_env.call_record.stored.department == "desk"
    assert (await call_env.calls.command_router.execute_command("harbour", CALL, "hang_up")).verdict == "not_here", (
        "it is on no stream any more"
    )
    await peer.disconnect()


@in_virtual_time
async def test_end_is_saved_with_cost_and_log():
    call_env = CallEnv(HANGUP_FLOW, version_number=7, rates={"local": 60_000})
    peer = start_call(call_env)
    await peer.run(5)
    kept = call_env.call_store.calls[CALL]
    assert (kept.outcome, kept.version, kept.resume_state) == ("completed", 7, None)
    assert call_env.call_store.logs[CALL].count(b"\n") > 2
    (segment,) = kept.segments
    assert segment.cost_micro_usd == pytest.approx(segment.billed_microseconds / 1_000, abs=1)
    (ended,) = call_env.data_of("call.ended")
    assert ended["cost_micro_usd"] == kept.cost_micro_usd > 0
    assert [event.type for event in call_env.call_store.events] == [event.type for event in call_env.events]
    await peer.disconnect()


@in_virtual_time
async def test_change_of_voice_starts_a_segment():
    talk = make_flow(
        item={"type": "say", "text": "This is said at the first tier.", "exits": {"next": "change"}},
        change={"type": "voice", "tier": "elevenlabs", "name": "someone", "exits": {"next": "two"}},
        two={"type": "say", "text": "This is said at the second tier.", "exits": {"next": "bye"}},
        bye={"type": "hangup"},
    )
    voices = FallbackSynthesizer({"azure": ToneSynthesizer(), "elevenlabs": ToneSynthesizer()})
    speech = SpeechServices(FallbackRecognizer({"local": ScriptedRecognizer()}), voices)
    call_env = CallEnv(talk | {"voice": {"tier": "azure", "name": "en-US-AvaNeural"}}, speech=speech)
    peer = start_call(call_env)
    await peer.run(20)
    (ended,) = call_env.data_of("cost.updated")
    assert [part["tier"] for part in ended["segments"]] == ["azure", "elevenlabs"]
    assert sum(part["cost_micro_usd"] for part in ended["segments"]) == ended["cost_micro_usd"]
    assert sum(part["billed_seconds"] for part in ended["segments"]) == pytest.approx(ended["billed_seconds"])
    await peer.disconnect()


@in_virtual_time
async def test_call_without_a_sign_of_life_does_not_count_against_the_tenant_limit():
    tenant = msgspec.structs.replace(TENANT, max_concurrent_calls=1)
    env = CallEnv(HANGUP_FLOW, tenant=tenant)  # its one call gets no stream
    first, second = make_incoming_calls(2)
    assert await env.calls.lifecycle.start_call(first, env.call_config) is None
    await asyncio.sleep(SILENT_SECONDS + 1)
    assert await env.calls.lifecycle.start_call(first, env.call_config)
    assert await env.calls.lifecycle.start_call(second, env.call_config) is None


@in_virtual_time
async def test_tenant_limit_rejects_further_calls():
    call_env = CallEnv(
        HANGUP_FLOW, call_store=SlowCallStore(until=1.0), tenant=msgspec.structs.replace(TENANT, max_concurrent_calls=3)
    )
    (item, *more) = make_incoming_calls(4)
    asked = [call_env.calls.lifecycle.start_call(incoming, call_env.call_config) for incoming in more]
    await asyncio.sleep(0.1)
    begun = await asyncio.gather(*asked)
    assert [record is not None for record in begun] == [True, True, False], "also those that come at once"
    assert await call_env.calls.lifecycle.start_call(item, call_env.call_config) is None
    peer = start_call(call_env)
    await peer.run(5)
    assert await call_env.calls.lifecycle.start_call(item, call_env.call_config), "a call has ended"
    await peer.disconnect()


@in_virtual_time
async def test_starting_call_counts_before_its_commit():
    call_env, incoming = await full_process(until=1.0)
    task = asyncio.create_task(call_env.calls.lifecycle.start_call(incoming, call_env.call_config))
    await asyncio.sleep(0.1)
    assert call_env.registry.is_full
    assert await task
    assert call_env.registry.is_full, "its stream is to come"


@in_virtual_time
async def test_unsaved_call_releases_its_reservation():
    call_env, incoming = await full_process(until=1_000)
    with pytest.raises(DatabaseUnavailable):
        await call_env.calls.lifecycle.start_call(incoming, call_env.call_config)
    assert not call_env.registry.is_full


@in_virtual_time
async def test_wait_for_the_commit_of_a_hangup_is_not_billed():
    call_env = CallEnv(HANGUP_FLOW, call_store=SlowCallStore(until=1_000), rates={"local": 60_000})
    peer = start_call(call_env)
    await peer.run(8)
    assert peer.close_code == 1000
    assert call_env.stored_call.billed_microseconds < 1_500_000, "half a second of goodbye"
    await peer.disconnect()
    await asyncio.sleep(1_000)


@in_virtual_time
async def test_disconnect_before_the_commit_of_a_transfer_keeps_the_transfer():
    """Twilio goes on with the transfer, which is on record here: the talk with the department is not billed."""
    call_env = CallEnv(TRANSFER_FLOW, call_store=SlowCallStore(until=100), rates={"local": 60_000})
    peer = start_call(call_env)
    await peer.run(2)
    await peer.disconnect()
    await asyncio.sleep(300)
    assert call_env.call_record.stored.outcome == "", "it has not ended: somebody talks"
    assert call_env.stored_call.billed_microseconds < 3_000_000
    await call_env.report_ended()
    await asyncio.sleep(10)


@in_virtual_time
async def test_unused_token_does_not_end_a_live_call():
    call_env = CallEnv(make_flow(wait={"type": "wait", "seconds": 200, "exits": {}}))
    peer = start_call(call_env)
    await peer.run(1)
    call_env.stream_token()  # the voice webhook, told again late
    await peer.run(120)
    assert (peer.close_code, call_env.call_record.stored.outcome) == (None, "")
    peer.deliver_numbered("stop", stop={})
    assert call_env.data_of("call.ended")[0]["billed_seconds"] == pytest.approx(121, abs=1)
    await peer.disconnect()


@pytest.mark.parametrize("jump", [3_600, -3_600])
def test_billing_ignores_changes_of_the_wall_clock(jump):
    @in_virtual_time
    async def call():
        call_env = CallEnv(make_flow(wait={"type": "wait", "seconds": 200, "exits": {}}))
        peer = start_call(call_env)
        await peer.run(10)
        call_env.shift_clock(jump)
        await peer.run(10)
        peer.deliver_numbered("stop", stop={})
        assert call_env.stored_call.billed_microseconds == pytest.approx(20_000_000, abs=500_000)
        assert call_env.call_record.stored.ended_at >= call_env.call_record.stored.started_at
        await peer.disconnect()

    call()
