"""What is certain in the store before anything is done about it, and what a caller notices when it is slow."""

import asyncio

import msgspec
import pytest

from tests.unit.gateway.calls.peer import ACCOUNT, CALL, NUMBER, TENANT, Peer, World
from tests.virtual_time import in_virtual_time
from vocelio.gateway.calls.registry import Visit
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Voices
from vocelio.gateway.speech.services import Speech
from vocelio.gateway.store.in_memory import MemoryJournal


def flow(**nodes):
    return {"name": "Test", "start": next(iter(nodes)), "nodes": nodes}


RING = flow(
    talk={"type": "say", "text": "A", "exits": {"next": "ring"}},
    ring={"type": "transfer", "department": "sales", "exits": {"failed": "sorry"}},
    sorry={"type": "hangup", "text": "Nobody can be reached."},
)
BYE = flow(bye={"type": "hangup", "text": "Goodbye."})


class SlowJournal(MemoryJournal):
    """Commits nothing between two instants: what is saved then waits."""

    def __init__(self, until, since=0.03):
        super().__init__()
        self.since, self.until, self.waiting = since, until, []

    def save(self, call, committed=lambda: None, overtaken=lambda: None):
        loop = asyncio.get_running_loop()
        if not self.since <= loop.time() < self.until:
            super().save(call, committed, overtaken)
            return
        if not self.waiting:
            loop.call_at(self.until, self.flush)
        self.waiting.append((call, committed, overtaken))

    def flush(self):
        for waiting in self.waiting:
            super().save(*waiting)


def visits(count):
    """So many callers."""
    return [Visit(f"CA{place:032x}", ACCOUNT, NUMBER, "+13105550142") for place in range(count)]


async def narrow(until):
    """A process with room for one call, whose store commits nothing until then; and who calls."""
    world = World(BYE, journal=SlowJournal(until))
    world.calls.load.capacity = 1
    await asyncio.sleep(0.1)
    (visit,) = visits(1)
    return world, visit


def started(world):
    return Peer(world, world.token())


def texts(world):
    return [event["text"] for event in world.of("prompt.started")]


@in_virtual_time
async def test_a_transfer_begins_when_the_intent_is_certain():
    world = World(RING, journal=SlowJournal(until=5))
    peer = started(world)
    await peer.run(4)
    assert peer.code is None, "the socket is open: nothing is done before it is certain"
    assert world.of("transfer.started") == []
    spoken = peer.spoken()
    await peer.run(2)
    assert peer.code == 1000
    assert spoken > 0.5, "the caller was asked to wait a moment"
    kept = world.journal.calls[CALL]
    assert kept.state["intent"]["department"] == "sales"
    await peer.gone()


@in_virtual_time
async def test_a_store_that_answers_at_once_is_not_noticed():
    world = World(RING)
    peer = started(world)
    await peer.run(3)
    assert (peer.code, texts(world)) == (1000, ["A"])
    await peer.gone()


@in_virtual_time
async def test_without_the_store_a_transfer_fails_after_a_while_and_the_flow_goes_on():
    world = World(RING, journal=SlowJournal(until=1_000))
    peer = started(world)
    await peer.run(20)
    assert texts(world) == ["A", *["One moment, please."] * 3, "Nobody can be reached."]
    assert world.of("store.unavailable") == [{"seconds": 10.0}]
    await peer.run(2)
    assert peer.code == 1000, "hanging up needs nobody, and nobody waits for it in silence"
    assert world.of("call.ended") == [], "that is told when it is certain"
    await asyncio.sleep(1_000)
    assert [event["outcome"] for event in world.of("call.ended")] == ["completed"]
    await peer.gone()


@in_virtual_time
async def test_who_hangs_up_while_waiting_has_ended():
    world = World(RING, journal=SlowJournal(until=30))
    peer = started(world)
    await peer.run(4)
    peer.numbered("stop", stop={})
    assert peer.code == 1000
    await asyncio.sleep(60)
    assert world.of("transfer.started") == []
    assert [event["outcome"] for event in world.of("call.ended")] == ["abandoned"]
    await peer.gone()


@in_virtual_time
async def test_an_operator_can_hang_up_while_a_transfer_waits():
    world = World(RING, journal=SlowJournal(until=9))
    peer = started(world)
    await peer.run(4)
    assert (await world.calls.dispatch.command("harbour", CALL, "hang_up")).verdict == "accepted"
    await peer.run(10)
    assert peer.code == 1000
    await asyncio.sleep(5)
    assert world.of("transfer.started") == []
    assert world.record.outcome == "completed"
    await peer.gone()


@in_virtual_time
async def test_commands_reach_the_tenants_own_live_calls_only():
    world = World(flow(wait={"type": "wait", "seconds": 60, "exits": {}}))
    peer = started(world)
    await peer.run(1)
    assert (await world.calls.dispatch.command("another", CALL, "say", "Hello.")).verdict == "not_here"
    assert (await world.calls.dispatch.command("harbour", "CA" + "9" * 32, "say", "Hello.")).verdict == "not_here"
    assert (await world.calls.dispatch.command("harbour", CALL, "say", "Your table is ready.")).verdict == "accepted"
    await peer.run(4)
    assert texts(world) == ["Your table is ready."]
    assert (await world.calls.dispatch.command("harbour", CALL, "transfer", "desk")).verdict == "accepted"
    await peer.run(0.1)
    assert peer.code == 1000
    assert world.record.department == "desk"
    assert (await world.calls.dispatch.command("harbour", CALL, "hang_up")).verdict == "not_here", (
        "it is on no stream any more"
    )
    await peer.gone()


@in_virtual_time
async def test_the_end_is_kept_with_its_bill_and_its_log():
    world = World(BYE, promoted=7, rates={"local": 60_000})
    peer = started(world)
    await peer.run(5)
    kept = world.journal.calls[CALL]
    assert (kept.outcome, kept.version, kept.state) == ("completed", 7, None)
    assert world.journal.logs[CALL].count(b"\n") > 2
    (segment,) = kept.segments
    assert segment.micro_usd == pytest.approx(segment.billed / 1_000, abs=1)
    (ended,) = world.of("call.ended")
    assert ended["micro_usd"] == kept.micro_usd > 0
    assert [event.type for event in world.journal.events] == [event.type for event in world.events]
    await peer.gone()


@in_virtual_time
async def test_a_change_of_voice_is_a_segment_of_its_own():
    talk = flow(
        one={"type": "say", "text": "This is said at the first tier.", "exits": {"next": "change"}},
        change={"type": "voice", "tier": "elevenlabs", "name": "someone", "exits": {"next": "two"}},
        two={"type": "say", "text": "This is said at the second tier.", "exits": {"next": "bye"}},
        bye={"type": "hangup"},
    )
    voices = Voices({"azure": ToneSynthesizer(), "elevenlabs": ToneSynthesizer()})
    speech = Speech(Ears({"local": ScriptedRecognizer()}), voices)
    world = World(talk | {"voice": {"tier": "azure", "name": "en-US-AvaNeural"}}, speech=speech)
    peer = started(world)
    await peer.run(20)
    (ended,) = world.of("cost.updated")
    assert [part["tier"] for part in ended["segments"]] == ["azure", "elevenlabs"]
    assert sum(part["micro_usd"] for part in ended["segments"]) == ended["micro_usd"]
    assert sum(part["seconds"] for part in ended["segments"]) == pytest.approx(ended["seconds"])
    await peer.gone()


@in_virtual_time
async def test_a_tenant_can_limit_its_calls():
    world = World(BYE, journal=SlowJournal(until=1.0), tenant=msgspec.structs.replace(TENANT, max_calls=3))
    (one, *more) = visits(4)
    asked = [world.calls.begin(visit, world.assignment) for visit in more]
    await asyncio.sleep(0.1)
    begun = await asyncio.gather(*asked)
    assert [record is not None for record in begun] == [True, True, False], "also those that come at once"
    assert await world.calls.begin(one, world.assignment) is None
    peer = started(world)
    await peer.run(5)
    assert await world.calls.begin(one, world.assignment), "a call has ended"
    await peer.gone()


@in_virtual_time
async def test_a_call_has_its_place_before_it_is_in_the_store():
    world, visit = await narrow(until=1.0)
    task = asyncio.create_task(world.calls.begin(visit, world.assignment))
    await asyncio.sleep(0.1)
    assert world.calls.full_up
    assert await task
    assert world.calls.full_up, "its stream is to come"


@in_virtual_time
async def test_a_call_that_could_not_be_kept_gives_its_place_back():
    world, visit = await narrow(until=1_000)
    with pytest.raises(StoreUnavailable):
        await world.calls.begin(visit, world.assignment)
    assert not world.calls.full_up


@in_virtual_time
async def test_what_waits_for_the_store_before_a_hang_up_is_not_billed():
    world = World(BYE, journal=SlowJournal(until=1_000), rates={"local": 60_000})
    peer = started(world)
    await peer.run(8)
    assert peer.code == 1000
    assert world.kept.billed < 1_500_000, "half a second of goodbye"
    await peer.gone()
    await asyncio.sleep(1_000)


@in_virtual_time
async def test_a_stream_that_breaks_off_while_its_transfer_waits_for_the_store():
    """Twilio goes on with the transfer, which is on record here: the talk with the department is not billed."""
    world = World(RING, journal=SlowJournal(until=100), rates={"local": 60_000})
    peer = started(world)
    await peer.run(2)
    await peer.gone()
    await asyncio.sleep(300)
    assert world.record.outcome == "", "it has not ended: somebody talks"
    assert world.kept.billed < 3_000_000
    await world.status()
    await asyncio.sleep(10)


@in_virtual_time
async def test_a_token_that_was_given_out_for_nothing_ends_no_live_call():
    world = World(flow(wait={"type": "wait", "seconds": 200, "exits": {}}))
    peer = started(world)
    await peer.run(1)
    world.token()  # the voice webhook, told again late
    await peer.run(120)
    assert (peer.code, world.record.outcome) == (None, "")
    peer.numbered("stop", stop={})
    assert world.of("call.ended")[0]["seconds"] == pytest.approx(121, abs=1)
    await peer.gone()


@pytest.mark.parametrize("jump", [3_600, -3_600])
def test_the_bill_does_not_follow_the_wall_clock(jump):
    @in_virtual_time
    async def call():
        world = World(flow(wait={"type": "wait", "seconds": 200, "exits": {}}))
        peer = started(world)
        await peer.run(10)
        world.set_clock(jump)
        await peer.run(10)
        peer.numbered("stop", stop={})
        assert world.kept.billed == pytest.approx(20_000_000, abs=500_000)
        assert world.record.ended >= world.record.started
        await peer.gone()

    call()
