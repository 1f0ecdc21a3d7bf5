"""Calls of the simulator recorded by a real gateway, in a folder and a database: what was said is what is kept."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.integration.conftest import NOW
from tests.support.running_gateway import DEPARTMENTS, NUMBER, TENANT, running_gateway
from tests.support.twilio_peer import split_channels
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.simulator.caller.babble import unintelligible_speech
from vocelio.gateway.simulator.caller.script import HangUp, PlayAudio, StaySilent
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store import recordings as rows
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.schema import recordings as table
from vocelio.gateway.store.in_memory import InMemoryDirectory
from vocelio.gateway.store.recordings import (
    DatabaseRecordingCatalog,
    InMemoryRecordingCatalog,
    RecordingQuery,
    StoredRecording,
)
from vocelio.gateway.store.tenants import tenants

HUSH = b"\xff"
SPEECH = unintelligible_speech(2.5, random.Random(7))  # noqa: S311 (a sound, no secret)
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


def directory_with_flow(flow, tenant):
    version = load_flow(json.dumps(flow).encode())
    return InMemoryDirectory(
        [CallConfig(number=NUMBER, tenant=tenant, flow="flow", version=version, departments=DEPARTMENTS)]
    )


@pytest.fixture
async def catalog(database):
    """The catalogue of a database that knows the tenant."""
    await tenants.create_tenant(database, Actor("key1", "platform", "", "request-1", NOW), TENANT)
    return DatabaseRecordingCatalog(database)


@pytest.fixture
def storage(tmp_path):
    """A folder."""
    return ObjectStorage(str(tmp_path / "storage"))


@asynccontextmanager
async def recording_gateway(flow, recordings, tenant=TENANT):
    recognizer, synthesizer = ScriptedRecognizer(), ToneSynthesizer()
    async with running_gateway(
        None, recognizer, synthesizer, directory=directory_with_flow(flow, tenant), recordings=recordings
    ) as running:
        yield running


async def only_recording(database, storage):
    """The one recording, with its sides."""
    (listed,) = (await rows.list_recordings(database, TENANT.id, RecordingQuery())).items
    async with database.read() as connection:
        kept = await find_bytes(connection, listed.id)
    sound = await RecordingService(storage, DatabaseRecordingCatalog(database)).get_audio(kept)
    file = b"".join([part async for part in sound.read(0, sound.size)])
    assert listed.size_bytes in (0, len(file))
    return listed, split_channels(file, listed)


async def find_bytes(connection, name):
    row = (await connection.execute(table.select().where(table.c.id == name))).one()
    return StoredRecording(
        tenant=row.tenant_id, id=row.id, call=row.call_id, kind=row.kind, channels=row.channels, started_at=0
    )


async def test_voicemail_is_stored(database, catalog, storage):
    async with recording_gateway(VOICEMAIL, RecordingService(storage, catalog)) as running:
        report = await running.call([PlayAudio(audio=SPEECH, text="a message")])
    assert report.errors == ()
    listed, (message,) = await only_recording(database, storage)
    assert SPEECH[: len(SPEECH) // 160 * 160] in message
    assert (listed.state, listed.kind, listed.call) == ("complete", "voicemail", report.call_sid)
    assert listed.duration_seconds == pytest.approx(len(SPEECH) / 8000, abs=1.2)
    (ended,) = running.bus.data_of("recording.ended")
    assert (ended["recording"], ended["duration_seconds"]) == (listed.id, listed.duration_seconds)


async def test_hangup_right_after_a_voicemail_stores_it(database, catalog, storage):
    async with recording_gateway(VOICEMAIL, RecordingService(storage, catalog)) as running:
        await running.call([PlayAudio(audio=SPEECH), HangUp(max_wait_seconds=0.0)])
    listed, (message,) = await only_recording(database, storage)
    assert SPEECH[: len(SPEECH) // 160 * 160 - 320] in message
    assert listed.state == "complete"


async def test_stored_recording_has_both_sides_with_barge_in(database, catalog, storage):
    steps = [
        PlayAudio(audio=SPEECH[:8000], interrupt_after_seconds=1.0),
        StaySilent(seconds=1, max_wait_seconds=0.0),
        HangUp(max_wait_seconds=0.0),
    ]
    async with recording_gateway(TALK, RecordingService(storage, catalog), RECORDED) as running:
        report = await running.call(steps)
    assert report.errors == ()
    (clear,) = report.clears
    assert clear.cleared_ms > 500, "more had been sent ahead"
    listed, (caller, gateway) = await only_recording(database, storage)
    assert (listed.kind, listed.channels, listed.state) == ("call", 2, "complete")
    assert SPEECH[:8000] in caller
    kept, heard = gateway.strip(HUSH), report.heard_audio.strip(HUSH)
    common = min(len(kept), len(heard))
    assert kept[:common] == heard[:common]
    assert len(kept) == pytest.approx(len(heard), abs=8000 * 0.1), "but for the way there"
    spoken, cut = caller.index(SPEECH[:8000]), len(gateway.rstrip(HUSH))
    assert cut - spoken == pytest.approx(report.turns[0].barge_in_latency_ms * 8, abs=8000 * 0.1), "the same in both"


async def test_recording_of_a_dead_process_is_finalized_by_another(database, catalog, storage):
    """The first process only stops: it neither ends its recordings nor joins them."""
    dead = RecordingService(storage, catalog)
    async with recording_gateway(TALK, UnfinalizedRecordings(dead), RECORDED) as running:
        await running.call([PlayAudio(audio=SPEECH, interrupt_after_seconds=0.5), HangUp(max_wait_seconds=0.0)])
    listed, (caller, _) = await only_recording(database, storage)
    assert (listed.state, listed.duration_seconds) == ("writing", 0.0)
    assert 2.2 < len(caller) / 8000 < 5
    assert SPEECH[:16_000] in caller, "it can be heard before it is joined"
    other = RecordingService(storage, catalog, lambda: wall_clock() + 2 * SETTLED)
    await other.finalize_stale()
    again, (joined, _) = await only_recording(database, storage)
    assert (again.state, joined) == ("complete", caller)
    assert again.duration_seconds == len(caller) / 8000


class UnfinalizedRecordings(RecordingService):
    """Of a process that was killed: what it has in memory goes nowhere."""

    def __init__(self, recordings):
        super().__init__(recordings.storage, recordings.catalog)

    def start_recording(self, tenant, call, kind, on_failure):
        """See Recordings."""
        tape = super().start_recording(tenant, call, kind, on_failure)
        tape.close = lambda: None
        return tape


class FaultyStorage(MemoryStorage):
    """A storage that answers each time after ``stall`` seconds that it is away."""

    def __init__(self, stall):
        super().__init__()
        self.stall = stall

    async def put(self, path, body):
        """See Storage."""
        await asyncio.sleep(self.stall)
        raise StorageUnavailable("no route to host")


@pytest.mark.parametrize("stall", [0.0, 60.0])
async def test_failing_storage_does_not_delay_the_call(stall):
    recordings = RecordingService(FaultyStorage(stall), InMemoryRecordingCatalog(), max_queued_bytes=20_000)
    steps = [StaySilent(seconds=4, max_wait_seconds=0.0), HangUp(max_wait_seconds=0.0)]
    async with recording_gateway(TALK, recordings, RECORDED) as running:
        reports = await asyncio.gather(*(running.call(steps) for _ in range(5)))
    for report in reports:
        assert report.errors == ()
        assert report.underruns == 0
        assert report.ending == "caller_hung_up"
    failures = running.bus.data_of("recording.failed")
    assert {failed["kind"] for failed in failures} == {"call"}
    assert len({failed["recording"] for failed in failures}) == len(failures) == 5
