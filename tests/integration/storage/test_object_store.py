"""Object storage in a directory and in an S3 bucket: atomic writes, listing, deletion, errors."""

import stat

import pytest

from tests.support.fake_s3 import FakeS3Bucket
from vocelio.gateway.errors import SettingsError, StorageUnavailable
from vocelio.gateway.storage.interfaces import MemoryStorage, ObjectNotFound
from vocelio.gateway.storage.object_store import ObjectStorage


@pytest.fixture
async def bucket(monkeypatch):
    """A bucket, and environment variables that point to it."""
    async with FakeS3Bucket().serve() as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the test")
        yield bucket


@pytest.fixture(params=["folder", "file url", "s3", "memory"])
def storage(request, tmp_path, bucket):
    """Each kind of storage that runs on one machine."""
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


async def test_put_object_is_found_by_its_path(storage):
    await storage.put("a/b/1", b"first")
    await storage.put("a/b/2", stream_pieces())
    await storage.put("a/bc/3", b"another's")
    result = await storage.list_objects("a/b")
    assert [(item.path, item.size) for item in result] == [("a/b/1", 5), ("a/b/2", 13)]
    assert result[0].modified_at > 1_700_000_000_000_000
    assert await storage.get("a/b/2", 4, 8) == b"two "
    assert await storage.get("a/b/2", 8, 100) == b"three"
    assert await storage.get("a/b/1", 2, 2) == b""
    await storage.put("a/b/1", b"second")
    assert await storage.get("a/b/1", 0, 6) == b"second"


async def test_delete_removes_objects_and_ignores_missing_ones(storage):
    for name in "123":
        await storage.put(f"a/{name}", b"x")
    await storage.delete(["a/1", "a/nothing", "a/3"])
    assert [item.path for item in await storage.list_objects("a")] == ["a/2"]
    await storage.delete([])
    await storage.delete(["a/2"])
    assert await storage.list_objects("a") == []
    with pytest.raises(ObjectNotFound):
        await storage.get("a/2", 0, 1)


async def test_bucket_receives_objects(bucket):
    storage = ObjectStorage("s3://recordings/of/ours")
    await storage.put("a/1", b"x" * 100)
    await storage.put("a/2", stream_large())
    assert {key: len(body) for key, body in bucket.objects.items()} == {"of/ours/a/1": 100, "of/ours/a/2": 12_000_000}


async def test_unreachable_bucket_raises_storage_unavailable(bucket):
    bucket.is_unavailable = True
    storage = ObjectStorage("s3://recordings")
    for ask in (storage.put("a/1", b"x"), storage.get("a/1", 0, 1), storage.list_objects("a"), storage.delete(["a/1"])):
        with pytest.raises(StorageUnavailable):
            await ask


async def stream_large():
    for _ in range(3):
        yield b"x" * 4_000_000


async def test_interrupted_upload_leaves_no_object(tmp_path):
    async def broken():
        yield b"x" * 6_000_000
        raise ConnectionError("the source is gone")

    storage = ObjectStorage(str(tmp_path))
    with pytest.raises((StorageUnavailable, ConnectionError)):
        await storage.put("a/1", broken())
    assert await storage.list_objects("a") == []


async def test_unwritable_directory_raises_storage_unavailable(tmp_path):
    storage = ObjectStorage(str(tmp_path / "storage"))
    (tmp_path / "storage" / "a").write_text("a file in the way")
    with pytest.raises(StorageUnavailable):
        await storage.put("a/1", b"x")


async def test_directory_is_readable_by_its_owner_only(tmp_path):
    ObjectStorage(str(tmp_path / "storage"))
    assert stat.S_IMODE((tmp_path / "storage").stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["https://example.com/x", "nope://x", "az://container", "/proc/nowhere"])
def test_invalid_storage_url_is_rejected_on_creation(url, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SettingsError, match="VOCELIO_STORAGE_URL"):
        ObjectStorage(url)


def test_cloud_storage_is_created_without_a_connection(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("s3://bucket/prefix", "gs://bucket", "az://container/prefix"):
        ObjectStorage(url)
