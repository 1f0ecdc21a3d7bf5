"""Prompt cache: calls find rendered sentences in memory, and failures never reach them."""

import asyncio

import pytest

from tests.support.prompt_env import AVA_VOICE, HARBOUR, SECOND, FaultyStorage, same_voice
from tests.support.tenant_fixtures import flow_document
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.validation.loader import load_flow
from vocelio.engine.voice import Voice
from vocelio.gateway.prompts.cache import PreloadingPromptCache, PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests, cache_key, object_path, voice_fingerprint
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

VOICE = Voice()
SENTENCES = ["Good day.", "How are you?"]


def key_of(sentence, voice=VOICE):
    return cache_key(voice_fingerprint(voice), sentence)


@pytest.fixture
async def rendered_flow(prompt_env):
    """A flow that has been rendered by another process."""
    await prompt_env.promote_flow()
    await prompt_env.render_all(prompt_env.create_worker())
    prompt_env.storage.requests.clear()
    return prompt_env


def are_cached(cache, *sentences, tenant=HARBOUR):
    return [cache.get(tenant, VOICE, sentence) is not None for sentence in sentences]


async def test_loaded_sentences_are_in_memory(rendered_flow):
    cache = rendered_flow.create_cache()
    assert are_cached(cache, *SENTENCES) == [False, False]
    await cache.load_keys(HARBOUR, [key_of(sentence) for sentence in SENTENCES])
    assert are_cached(cache, *SENTENCES) == [True, True]
    assert len(cache.get(HARBOUR, VOICE, "Good day.")) == len("Good day.")
    await cache.load_keys(HARBOUR, [key_of(sentence) for sentence in SENTENCES])
    assert len(rendered_flow.storage.requests) == 2
    assert cache.get("zebra", VOICE, "Good day.") is None  # each tenant's own
    assert cache.get(HARBOUR, AVA_VOICE, "Good day.") is None


async def test_key_depends_on_everything_that_changes_the_audio():
    item = key_of("Hello.")
    assert len(item) == 64
    assert voice_fingerprint(AVA_VOICE) == "azure/en-US-AvaNeural/en-US/1.0//"
    assert voice_fingerprint(Voice("elevenlabs", "x")) == "elevenlabs/x/en-US/1.0//eleven_flash_v2_5"
    others = [Voice(name="de"), Voice(language="de-DE"), Voice(speed=1.1), Voice("azure"), Voice(style="cheerful")]
    assert len({item, key_of("Hello"), *(key_of("Hello.", voice) for voice in others)}) == 7
    assert key_of("Hello.", Voice(fallbacks=(AVA_VOICE,))) == item


async def test_sentences_that_are_not_rendered_are_not_read_from_the_storage(prompt_env):
    await prompt_env.promote_flow()
    worker, cache = prompt_env.create_worker(), prompt_env.create_cache()
    await worker.reconciler.reconcile()
    await cache.load_keys(HARBOUR, [key_of("Good day."), "f" * 64])
    assert are_cached(cache, "Good day.") == [False]
    assert prompt_env.storage.requests == []


async def test_missing_sentences_are_looked_up_again_after_the_negative_ttl(rendered_flow):
    long_ttl, short_ttl = rendered_flow.create_cache(), rendered_flow.create_cache(negative_ttl_seconds=0.01)
    for cache in (long_ttl, short_ttl):
        await cache.load_keys(HARBOUR, [key_of("Later.")])
    await render_queue.enqueue(
        rendered_flow.database,
        HARBOUR,
        [render_queue.PromptRef(key_of("Later."), "Later.", VOICE)],
        rendered_flow.now,
    )
    await rendered_flow.render_all(rendered_flow.create_worker())
    await asyncio.sleep(0.02)
    for cache in (long_ttl, short_ttl):
        await cache.load_keys(HARBOUR, [key_of("Later.")])
    assert (are_cached(long_ttl, "Later."), are_cached(short_ttl, "Later.")) == ([False], [True])


async def test_concurrent_loads_read_an_object_once(rendered_flow):
    cache = rendered_flow.create_cache()
    await asyncio.gather(*(cache.load_keys(HARBOUR, [key_of("Good day.")]) for _ in range(5)))
    assert len(rendered_flow.storage.requests) == 1


async def test_least_recently_used_sentence_is_evicted(rendered_flow):
    cache = rendered_flow.create_cache(max_bytes=30)
    for sentence in ("Good day.", "How are you?", "Goodbye."):  # 9, 12 and 8 bytes
        await cache.load_keys(HARBOUR, [key_of(sentence)])
    await cache.load_keys(HARBOUR, [key_of("Good day.")])  # another call's
    await cache.put(HARBOUR, "c" * 64, bytes(9))
    assert are_cached(cache, "Good day.", "How are you?", "Goodbye.") == [True, False, True]
    await cache.put(HARBOUR, "d" * 64, bytes(31))  # kept, but not here
    assert are_cached(cache, "Good day.", "Goodbye.") == [True, True]


async def test_one_flow_fills_at_most_half_of_the_memory_first_sentences_first(rendered_flow):
    cache = rendered_flow.create_cache(max_bytes=50)
    await cache.load_keys(HARBOUR, [key_of("Good day."), key_of("How are you?"), key_of("Goodbye.")])
    assert are_cached(cache, "Good day.", "How are you?", "Goodbye.") == [True, True, False]


async def test_unavailable_storage_is_not_requested_again_for_a_while(rendered_flow):
    cache = rendered_flow.create_cache()
    rendered_flow.storage.is_unavailable = True
    await cache.load_keys(HARBOUR, [key_of("Good day.")])
    await cache.load_keys(HARBOUR, [key_of("How are you?")])
    assert are_cached(cache, *SENTENCES) == [False, False]
    assert len(rendered_flow.storage.requests) == 1


async def test_database_error_is_not_raised(rendered_flow, tmp_path):
    without_tables = Database(f"sqlite+aiosqlite:///{tmp_path}/another.db")
    cache = PromptCache(rendered_flow.storage, without_tables, rendered_flow.wall)
    await cache.load_keys(HARBOUR, [key_of("Good day.")])
    assert are_cached(cache, "Good day.") == [False]
    await without_tables.aclose()


async def test_stalled_storage_delays_a_call_only_until_the_load_timeout(rendered_flow):
    class Stalling(FaultyStorage):
        async def get(self, path, start, end):
            await asyncio.Event().wait()

    cache = PromptCache(
        Stalling(rendered_flow.wall), rendered_flow.database, rendered_flow.wall, load_timeout_seconds=0.05
    )
    await cache.load_keys(HARBOUR, [key_of("Good day.")])
    assert are_cached(cache, "Good day.") == [False]
    await cache.aclose()


async def test_unexpected_storage_error_is_not_raised(rendered_flow):
    class Broken(FaultyStorage):
        async def get(self, path, start, end):
            raise ValueError("what is this?")

    await PromptCache(Broken(rendered_flow.wall), rendered_flow.database, rendered_flow.wall).load_keys(
        HARBOUR, [key_of("Good day.")]
    )


async def test_object_deleted_from_the_storage_is_rendered_again(rendered_flow):
    cache, worker = rendered_flow.create_cache(), rendered_flow.create_worker()
    await rendered_flow.storage.delete([object_path(HARBOUR, key_of("Good day."))])
    await cache.load_keys(HARBOUR, [key_of("Good day.")])
    assert (await rendered_flow.get_progress(worker)).pending == 1
    rendered_flow.now += SECOND
    assert await worker.process_due() == 1
    assert object_path(HARBOUR, key_of("Good day.")) in rendered_flow.storage.objects


async def test_local_voice_and_folder_storage_from_promotion_to_call(prompt_env, tmp_path):
    text = "Thank you for calling. {{ tenant.name }} is closed."
    await prompt_env.promote_flow(text)
    synthesizer = LocalSynthesizer()
    await synthesizer.start()
    storage, manifests = ObjectStorage(str(tmp_path / "storage")), PromptManifests(same_voice)
    cache = PromptCache(storage, prompt_env.database, prompt_env.wall)
    worker = PromptRenderWorker(
        prompt_env.database, cache, manifests, FallbackSynthesizer({"local": synthesizer}).render, prompt_env.wall
    )
    await worker.start()

    async def done():
        return (await prompt_env.get_progress(worker)).ready == 8

    try:
        await prompt_env.wait_until(done)
    finally:
        await worker.aclose()
        await synthesizer.aclose()
    rendered = PreloadingPromptCache(
        PromptCache(storage, prompt_env.database, prompt_env.wall), PromptManifests(same_voice)
    )  # of another process
    async with prompt_env.database.read() as connection:
        tenant = await tenants.load_tenant(connection, HARBOUR)
    await rendered.preload(tenant, load_flow(flow_document(text)))
    for sentence in split_sentences("Thank you for calling. Harbour is closed."):
        sound = rendered.get(HARBOUR, VOICE, sentence)
        assert 4_000 < len(sound) < 40_000
    await rendered.cache.aclose()
