"""/v1/recordings: found, heard, in parts and on the trail; removed with their sound."""

import asyncio

import pytest

from tests.support.api_client import ApiEnv, create_tenant
from tests.support.two_tenants import CALLS_STARTED_AT, make_recording
from vocelio.codecs.wav import mulaw_header
from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.store.db.database import API_POOL
from vocelio.gateway.store.recordings import DatabaseRecordingCatalog

FILE = mulaw_header(10_000, 1, 8000) + bytes(range(250)) * 40
CALL, OTHER = f"CA{1:032x}", f"CA{2:032x}"

both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


class ObservableStorage(MemoryStorage):
    """Says when it has so many objects; and may be away, or stalled."""

    def __init__(self):
        super().__init__()
        self.away, self.wanted, self.there = False, 0, asyncio.Event()
        self.stalled, self.asked = False, 0

    async def put(self, path, body):
        """See Storage."""
        await super().put(path, body)
        if len(self.objects) == self.wanted:
            self.there.set()

    async def list_objects(self, folder):
        """See Storage."""
        if self.away:
            raise StorageUnavailable("no route to host")
        self.asked += 1
        if self.stalled:
            await asyncio.Event().wait()
        return await super().list_objects(folder)


@pytest.fixture
def api(database):
    """The API, with such a storage."""
    return ApiEnv(database, storage=ObservableStorage())


@pytest.fixture
async def admin(api):
    """The admin of a tenant that has three recordings, two of them of one call."""
    client = await create_tenant(api, "harbour")
    made = (("a1", CALL, "voicemail"), ("a2", CALL, "call"), ("a3", OTHER, "call"))
    for place, (name, call, kind) in enumerate(made):
        row = make_recording("harbour", name, call, kind=kind, started_at=CALLS_STARTED_AT + place)
        await DatabaseRecordingCatalog(api.database).add(row)
        await api.storage.put(row.object_path, FILE)
    return client


async def recording_ids(client, query=""):
    return [item["id"] for item in (await client.request("GET", f"/v1/recordings{query}")).json["items"]]


async def played_audio(client):
    items = (await client.request("GET", "/v1/audit?action=recording.played")).json["items"]
    return [(item["target"], item["role"]) for item in items]


@both
async def test_they_are_found_by_call_and_kind_page_by_page(admin):
    assert await recording_ids(admin) == ["a3", "a2", "a1"]
    assert await recording_ids(admin, f"?call={CALL}") == ["a2", "a1"]
    assert await recording_ids(admin, f"?call={CALL}&kind=voicemail") == ["a1"]
    first = (await admin.request("GET", "/v1/recordings?limit=2")).json
    assert await recording_ids(admin, f"?limit=2&cursor={first['next_cursor']}") == ["a1"]
    item = (await admin.request("GET", "/v1/recordings/a1")).json
    assert item == {
        "id": "a1",
        "call": CALL,
        "kind": "voicemail",
        "channels": 1,
        "started_at": to_rfc3339(CALLS_STARTED_AT),
        "duration_seconds": 0.5,
        "state": "complete",
        "size_bytes": 4058,
    }


@both
async def test_who_listens_is_on_the_trail_once_for_one_listening(api, admin):
    answer = await admin.request("GET", "/v1/recordings/a1/audio")
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    assert (answer.headers["accept-ranges"], answer.headers["content-length"]) == ("bytes", str(len(FILE)))
    assert answer.body == FILE
    viewer = await api.create_client("harbour", "viewer")
    for start in (0, 100, 200):
        await viewer.request("GET", "/v1/recordings/a1/audio", Range=f"bytes={start}-{start + 99}")
    assert sorted(await played_audio(admin)) == [("a1", "admin"), ("a1", "viewer")]
    api.now += 700_000_000
    await viewer.request("GET", "/v1/recordings/a1/audio")
    assert len(await played_audio(admin)) == 3
    assert (await admin.request("GET", "/v1/recordings/nothing/audio")).status == 404
    assert len(await played_audio(admin)) == 3


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-", 0, 10_057), ("bytes=100-199", 100, 199), ("bytes=10000-99999", 10_000, 10_057), ("bytes=7-7", 7, 7)],
)
async def test_a_part_of_it(admin, wanted, first, last):
    answer = await admin.request("GET", "/v1/recordings/a1/audio", Range=wanted)
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10058"
    assert answer.headers["content-length"] == str(last + 1 - first)
    assert answer.body == FILE[first : last + 1]


@pytest.mark.parametrize("wanted", ["bytes=20000-", "bytes=9-3", "bytes=-5", "bytes=0-1,5-6", "words=1-2", "nonsense"])
async def test_a_range_that_cannot_be_gets_all(admin, wanted):
    answer = await admin.request("GET", "/v1/recordings/a1/audio", Range=wanted)
    assert (answer.status, answer.body) == (200, FILE)


async def test_a_long_one_comes_in_parts_that_a_player_puts_together(api, admin):
    size = 9_000_000
    await api.storage.put(make_recording("harbour", "a1", CALL).object_path, mulaw_header(size, 2, 8000) + bytes(size))
    got, parts = b"", 0
    while len(got) < size + 58:
        answer = await admin.request("GET", "/v1/recordings/a1/audio", Range=f"bytes={len(got)}-")
        assert answer.status == 206
        got, parts = got + answer.body, parts + 1
    assert (got, parts) == (mulaw_header(size, 2, 8000) + bytes(size), 3)


async def test_one_that_is_being_made_can_be_heard_so_far_and_not_be_removed(api, admin):
    api.storage.wanted = 5
    recordings = api.calls.services.recordings
    tape = recordings.start_recording("harbour", CALL, "voicemail", lambda _: None)
    name = tape.recording.id
    tape.add(b"a" * 9000)
    await api.storage.there.wait()
    await recordings.row_queue.aclose(5)
    answer = await admin.request("GET", f"/v1/recordings/{name}/audio")
    assert answer.body == mulaw_header(8000, 1, 8000) + b"a" * 8000
    assert (await admin.request("GET", f"/v1/recordings/{name}")).json["state"] == "writing"
    assert (await admin.request("DELETE", f"/v1/recordings/{name}")).status == 409
    tape.close()
    await recordings.aclose()
    assert (await admin.request("GET", f"/v1/recordings/{name}")).json["duration_seconds"] == 1.125
    assert (await admin.request("DELETE", f"/v1/recordings/{name}")).status == 204


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/recordings/a1/audio"), ("DELETE", "/v1/recordings/a1")])
async def test_a_storage_that_has_stalled_holds_up_nobody_else(api, admin, method, path):
    api.storage.stalled = True
    waiting = [asyncio.create_task(admin.request(method, path)) for _ in range(API_POOL["pool_size"])]
    while api.storage.asked < API_POOL["pool_size"]:  # noqa: ASYNC110 (nobody says so)
        await asyncio.sleep(0.01)
    assert (await admin.request("GET", "/v1/recordings/a1")).status == 200
    for item in waiting:
        item.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@both
async def test_removed_it_is_gone_with_its_sound_and_the_trail_says_by_whom(api, admin):
    assert (await admin.request("DELETE", "/v1/recordings/a2")).status == 204
    assert await recording_ids(admin) == ["a3", "a1"]
    assert sorted(path.split("/")[3] for path in api.storage.objects) == ["a1", "a3"]
    assert (await admin.request("GET", "/v1/recordings/a2/audio")).status == 404
    assert (await admin.request("DELETE", "/v1/recordings/a2")).status == 404
    (entry,) = (await admin.request("GET", "/v1/audit?action=recording.deleted")).json["items"]
    assert (entry["target"], entry["before"]["call"]) == ("a2", CALL)


async def test_while_the_storage_is_away_one_is_told_to_come_again(api, admin):
    api.storage.away = True
    answer = await admin.request("GET", "/v1/recordings/a1/audio")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "route" not in answer.body.decode()
    assert (await admin.request("DELETE", "/v1/recordings/a1")).status == 503
    assert await recording_ids(admin) == ["a3", "a2", "a1"]


async def test_a_tenant_says_whether_its_calls_are_recorded(admin):
    assert (await admin.request("GET", "/v1/tenant")).json["record_calls"] is False
    assert (await admin.request("PATCH", "/v1/tenant", {"record_calls": True})).json["record_calls"] is True
    assert (await admin.request("PATCH", "/v1/tenant", {"record_calls": "yes"})).status == 422
