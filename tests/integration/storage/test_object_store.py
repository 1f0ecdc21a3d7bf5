"""The storage that lasts, as a folder: whole or not at all, found by folder, gone when removed."""

import stat

import pytest

from tests.support.fake_s3 import FakeS3Bucket
from vocelio.gateway.errors import SettingsError, StorageUnavailable
from vocelio.gateway.storage.interfaces import MemoryStorage, ObjectNotFound
from vocelio.gateway.storage.object_store import ObjectStorage


@pytest.fixture
async def bucket(monkeypatch):
    """A bucket, and an environment that leads to it."""
    async with FakeS3Bucket().serve() as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the test")
        yield bucket


@pytest.fixture(params=["folder", "file url", "s3", "memory"])
def storage(request, tmp_path, bucket):
    """Each kind that can be had on one machine."""
    where = tmp_path / "deep" / "storage"
    return {
        "folder": lambda: ObjectStorage(str(where)),
        "file url": lambda: ObjectStorage(f"file://{where}"),
        "s3": lambda: ObjectStorage("s3://recordings/of/ours"),
        "memory": MemoryStorage,
    }[request.param]()


async def stream_pieces():
    for piece in (b"one ", b"two ", b"three"):
        yield piece


async def test_what_is_put_is_there_by_its_path(storage):
    await storage.put("a/b/1", b"first")
    await storage.put("a/b/2", stream_pieces())
    await storage.put("a/bc/3", b"another's")
    found = await storage.list_objects("a/b")
    assert [(one.path, one.size) for one in found] == [("a/b/1", 5), ("a/b/2", 13)]
    assert found[0].modified_at > 1_700_000_000_000_000
    assert await storage.get("a/b/2", 4, 8) == b"two "
    assert await storage.get("a/b/2", 8, 100) == b"three"
    assert await storage.get("a/b/1", 2, 2) == b""
    await storage.put("a/b/1", b"second")
    assert await storage.get("a/b/1", 0, 6) == b"second"


async def test_what_is_removed_is_gone_and_what_was_not_there_is_no_trouble(storage):
    for name in "123":
        await storage.put(f"a/{name}", b"x")
    await storage.delete(["a/1", "a/nothing", "a/3"])
    assert [one.path for one in await storage.list_objects("a")] == ["a/2"]
    await storage.delete([])
    await storage.delete(["a/2"])
    assert await storage.list_objects("a") == []
    with pytest.raises(ObjectNotFound):
        await storage.get("a/2", 0, 1)


async def test_a_bucket_gets_what_it_is_to_have(bucket):
    storage = ObjectStorage("s3://recordings/of/ours")
    await storage.put("a/1", b"x" * 100)
    await storage.put("a/2", stream_large())
    assert {key: len(body) for key, body in bucket.objects.items()} == {"of/ours/a/1": 100, "of/ours/a/2": 12_000_000}


async def test_a_bucket_that_is_away_is_said_to_be(bucket):
    bucket.is_unavailable = True
    storage = ObjectStorage("s3://recordings")
    for ask in (storage.put("a/1", b"x"), storage.get("a/1", 0, 1), storage.list_objects("a"), storage.delete(["a/1"])):
        with pytest.raises(StorageUnavailable):
            await ask


async def stream_large():
    for _ in range(3):
        yield b"x" * 4_000_000


async def test_a_broken_off_object_is_not_there(tmp_path):
    async def broken():
        yield b"x" * 6_000_000
        raise ConnectionError("the source is gone")

    storage = ObjectStorage(str(tmp_path))
    with pytest.raises((StorageUnavailable, ConnectionError)):
        await storage.put("a/1", broken())
    assert await storage.list_objects("a") == []


async def test_a_folder_that_cannot_be_written(tmp_path):
    storage = ObjectStorage(str(tmp_path / "storage"))
    (tmp_path / "storage" / "a").write_text("a file in the way")
    with pytest.raises(StorageUnavailable):
        await storage.put("a/1", b"x")


async def test_a_folder_is_its_owners_only(tmp_path):
    ObjectStorage(str(tmp_path / "storage"))
    assert stat.S_IMODE((tmp_path / "storage").stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["https://example.com/x", "nope://x", "az://container", "/proc/nowhere"])
def test_what_cannot_be_used_is_said_at_once(url, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SettingsError, match="VOCELIO_STORAGE_URL"):
        ObjectStorage(url)


def test_the_clouds_need_no_connection_to_begin(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("s3://bucket/prefix", "gs://bucket", "az://container/prefix"):
        ObjectStorage(url)
