"""Calls of the simulator recorded by a real gateway, in a folder and a database: what was said is what is kept."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.gateway import DEPARTMENTS, NUMBER, TENANT, gateway
from tests.integration.store.conftest import NOW
from tests.unit.gateway.calls.peer import sides
from vocelio.engine.validation.loader import load
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.recordings.service import Recordings
from vocelio.gateway.simulator.caller.babble import babble
from vocelio.gateway.simulator.caller.script import HangUp, Sound, StaySilent
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store import recordings as rows
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.schema import recordings as table
from vocelio.gateway.store.in_memory import MemorySite
from vocelio.gateway.store.recordings import DatabaseCatalogue, Kept, MemoryCatalogue, Search
from vocelio.gateway.store.tenants import tenants

HUSH = b"\xff"
SPEECH = babble(2.5, random.Random(7))  # noqa: S311 (a sound, no secret)
SETTLED = 300_000_000  # microseconds: past this a recording without a new piece is nobody's
RECORDED = msgspec.structs.replace(TENANT, record_calls=True)
VOICEMAIL = {
    "name": "Voicemail",
    "start": "message",
    "nodes": {
        "message": {
            "type": "record",
            "prompt": "Speak.",
            "silence_seconds": 1,
            "exits": {"done": "bye", "empty": "bye"},
        },
        "bye": {"type": "hangup"},
    },
}
TALK = {
    "name": "Talk",
    "start": "say",
    "nodes": {
        "say": {"type": "say", "text": "Please listen to this, it is quite long.", "exits": {"next": "wait"}},
        "wait": {"type": "wait", "seconds": 20, "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}


def behind(flow, tenant):
    version = load(json.dumps(flow).encode())
    return MemorySite([Assignment(number=NUMBER, tenant=tenant, flow="flow", version=version, departments=DEPARTMENTS)])


@pytest.fixture
async def catalogue(database):
    """The catalogue of a database that knows the tenant."""
    await tenants.create(database, Actor("key1", "platform", "", "request-1", NOW), TENANT)
    return DatabaseCatalogue(database)


@pytest.fixture
def storage(tmp_path):
    """A folder."""
    return ObjectStorage(str(tmp_path / "storage"))


@asynccontextmanager
async def serving(flow, recordings, tenant=TENANT):
    ears, mouth = ScriptedRecognizer(), ToneSynthesizer()
    async with gateway(None, ears, mouth, site=behind(flow, tenant), recordings=recordings) as running:
        yield running


async def only(database, storage):
    """The one recording, with its sides."""
    (shown,) = (await rows.every(database, TENANT.id, Search())).items
    async with database.reading() as connection:
        kept = await found(connection, shown.id)
    sound = await Recordings(storage, DatabaseCatalogue(database)).sound(kept)
    file = b"".join([part async for part in sound.read(0, sound.size)])
    assert shown.bytes in (0, len(file))
    return shown, sides(file, shown)


async def found(connection, name):
    row = (await connection.execute(table.select().where(table.c.id == name))).one()
    return Kept(tenant=row.tenant_id, id=row.id, call=row.call_id, kind=row.kind, channels=row.channels, started=0)


async def test_a_message_is_kept_as_it_was_said(database, catalogue, storage):
    async with serving(VOICEMAIL, Recordings(storage, catalogue)) as running:
        report = await running.call([Sound(audio=SPEECH, text="a message")])
    assert report.errors == ()
    shown, (message,) = await only(database, storage)
    assert SPEECH[: len(SPEECH) // 160 * 160] in message
    assert (shown.state, shown.kind, shown.call) == ("complete", "voicemail", report.call_sid)
    assert shown.seconds == pytest.approx(len(SPEECH) / 8000, abs=1.2)
    (ended,) = running.bus.of("recording.ended")
    assert (ended["recording"], ended["seconds"]) == (shown.id, shown.seconds)


async def test_a_caller_who_hangs_up_at_once_leaves_the_message(database, catalogue, storage):
    async with serving(VOICEMAIL, Recordings(storage, catalogue)) as running:
        await running.call([Sound(audio=SPEECH), HangUp(longest_wait=0.0)])
    shown, (message,) = await only(database, storage)
    assert SPEECH[: len(SPEECH) // 160 * 160 - 320] in message
    assert shown.state == "complete"


async def test_both_sides_as_the_caller_had_them_cut_where_it_was_cut(database, catalogue, storage):
    steps = [
        Sound(audio=SPEECH[:8000], interrupt=1.0),
        StaySilent(seconds=1, longest_wait=0.0),
        HangUp(longest_wait=0.0),
    ]
    async with serving(TALK, Recordings(storage, catalogue), RECORDED) as running:
        report = await running.call(steps)
    assert report.errors == ()
    (clear,) = report.clears
    assert clear.cleared_ms > 500, "more had been sent ahead"
    shown, (caller, gateway) = await only(database, storage)
    assert (shown.kind, shown.channels, shown.state) == ("call", 2, "complete")
    assert SPEECH[:8000] in caller
    kept, heard = gateway.strip(HUSH), report.heard.strip(HUSH)
    common = min(len(kept), len(heard))
    assert kept[:common] == heard[:common]
    assert len(kept) == pytest.approx(len(heard), abs=8000 * 0.1), "but for the way there"
    spoken, cut = caller.index(SPEECH[:8000]), len(gateway.rstrip(HUSH))
    assert cut - spoken == pytest.approx(report.turns[0].silenced_ms * 8, abs=8000 * 0.1), "the same in both"


async def test_what_a_process_that_dies_has_written_is_joined_by_the_next(database, catalogue, storage):
    """The first process only stops: it neither ends its recordings nor joins them."""
    dead = Recordings(storage, catalogue)
    async with serving(TALK, Unended(dead), RECORDED) as running:
        await running.call([Sound(audio=SPEECH, interrupt=0.5), HangUp(longest_wait=0.0)])
    shown, (caller, _) = await only(database, storage)
    assert (shown.state, shown.seconds) == ("writing", 0.0)
    assert 2.2 < len(caller) / 8000 < 5
    assert SPEECH[:16_000] in caller, "it can be heard before it is joined"
    other = Recordings(storage, catalogue, lambda: wall_clock() + 2 * SETTLED)
    await other.sweep()
    again, (joined, _) = await only(database, storage)
    assert (again.state, joined) == ("complete", caller)
    assert again.seconds == len(caller) / 8000


class Unended(Recordings):
    """Of a process that was killed: what it has in memory goes nowhere."""

    def __init__(self, recordings):
        super().__init__(recordings.storage, recordings.catalogue)

    def begin(self, tenant, call, kind, failed):
        """See Recordings."""
        tape = super().begin(tenant, call, kind, failed)
        tape.end = lambda: None
        return tape


class Bad(MemoryStorage):
    """A storage that answers each time after ``stall`` seconds that it is away."""

    def __init__(self, stall):
        super().__init__()
        self.stall = stall

    async def put(self, path, body):
        """See Storage."""
        await asyncio.sleep(self.stall)
        raise StorageUnavailable("no route to host")


@pytest.mark.parametrize("stall", [0.0, 60.0])
async def test_a_storage_that_fails_or_stalls_delays_no_call(stall):
    recordings = Recordings(Bad(stall), MemoryCatalogue(), held=20_000)
    steps = [StaySilent(seconds=4, longest_wait=0.0), HangUp(longest_wait=0.0)]
    async with serving(TALK, recordings, RECORDED) as running:
        reports = await asyncio.gather(*(running.call(steps) for _ in range(5)))
    for report in reports:
        assert report.errors == ()
        assert report.underruns == 0
        assert report.ended == "caller_hung_up"
    failures = running.bus.of("recording.failed")
    assert {failed["what"] for failed in failures} == {"call"}
    assert len({failed["recording"] for failed in failures}) == len(failures) == 5
