"""A call finds in memory what was rendered, and nothing that goes wrong reaches it."""

import asyncio

import pytest

from tests.support.prompt_env import AVA_VOICE, HARBOUR, SECOND, FaultyStorage, same_voice
from tests.support.tenant_fixtures import flow_document
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.validation.loader import load_flow
from vocelio.engine.voice import Voice
from vocelio.gateway.prompts.cache import PreloadingPromptCache, PromptCache
from vocelio.gateway.prompts.keys import cache_key, object_path, voice_fingerprint
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.tenants import tenants

VOICE = Voice()
SENTENCES = ["Good day.", "How are you?"]


def cached_audio(sentence, voice=VOICE):
    return cache_key(voice_fingerprint(voice), sentence)


@pytest.fixture
async def rendered_flow(prompt_env):
    """A flow, rendered by a process that has ended."""
    await prompt_env.promote_flow()
    await prompt_env.render_all(prompt_env.create_worker())
    prompt_env.storage.requests.clear()
    return prompt_env


def stored_paths(shelf, *sentences, tenant=HARBOUR):
    return [shelf.get(tenant, VOICE, sentence) is not None for sentence in sentences]


async def test_what_is_loaded_is_there_at_once(rendered_flow):
    shelf = rendered_flow.create_cache()
    assert stored_paths(shelf, *SENTENCES) == [False, False]
    await shelf.load_keys(HARBOUR, [cached_audio(sentence) for sentence in SENTENCES])
    assert stored_paths(shelf, *SENTENCES) == [True, True]
    assert len(shelf.get(HARBOUR, VOICE, "Good day.")) == len("Good day.")
    await shelf.load_keys(HARBOUR, [cached_audio(sentence) for sentence in SENTENCES])
    assert len(rendered_flow.storage.requests) == 2
    assert shelf.get("zebra", VOICE, "Good day.") is None  # each tenant's own
    assert shelf.get(HARBOUR, AVA_VOICE, "Good day.") is None


async def test_the_address_is_that_of_everything_that_is_heard():
    one = cached_audio("Hello.")
    assert len(one) == 64
    assert voice_fingerprint(AVA_VOICE) == "azure/en-US-AvaNeural/en-US/1.0//"
    assert voice_fingerprint(Voice("elevenlabs", "x")) == "elevenlabs/x/en-US/1.0//eleven_flash_v2_5"
    others = [Voice(name="de"), Voice(language="de-DE"), Voice(speed=1.1), Voice("azure"), Voice(style="cheerful")]
    assert len({one, cached_audio("Hello"), *(cached_audio("Hello.", voice) for voice in others)}) == 7
    assert cached_audio("Hello.", Voice(fallbacks=(AVA_VOICE,))) == one


async def test_what_is_not_rendered_is_not_looked_for(prompt_env):
    await prompt_env.promote_flow()
    renderer, shelf = prompt_env.create_worker(), prompt_env.create_cache()
    await renderer.reconciler.reconcile()
    await shelf.load_keys(HARBOUR, [cached_audio("Good day."), "f" * 64])
    assert stored_paths(shelf, "Good day.") == [False]
    assert prompt_env.storage.requests == []


async def test_what_is_not_there_is_not_asked_for_by_every_call(rendered_flow):
    patient, eager = rendered_flow.create_cache(), rendered_flow.create_cache(negative_ttl_seconds=0.01)
    for shelf in (patient, eager):
        await shelf.load_keys(HARBOUR, [cached_audio("Later.")])
    await render_queue.enqueue(
        rendered_flow.database,
        HARBOUR,
        [render_queue.PromptRef(cached_audio("Later."), "Later.", VOICE)],
        rendered_flow.now,
    )
    await rendered_flow.render_all(rendered_flow.create_worker())
    await asyncio.sleep(0.02)
    for shelf in (patient, eager):
        await shelf.load_keys(HARBOUR, [cached_audio("Later.")])
    assert (stored_paths(patient, "Later."), stored_paths(eager, "Later.")) == ([False], [True])


async def test_calls_that_begin_together_fetch_once(rendered_flow):
    shelf = rendered_flow.create_cache()
    await asyncio.gather(*(shelf.load_keys(HARBOUR, [cached_audio("Good day.")]) for _ in range(5)))
    assert len(rendered_flow.storage.requests) == 1


async def test_memory_is_bounded_and_what_was_heard_longest_ago_makes_room(rendered_flow):
    shelf = rendered_flow.create_cache(max_bytes=30)
    for sentence in ("Good day.", "How are you?", "Goodbye."):  # 9, 12 and 8 bytes
        await shelf.load_keys(HARBOUR, [cached_audio(sentence)])
    await shelf.load_keys(HARBOUR, [cached_audio("Good day.")])  # another call's
    await shelf.put(HARBOUR, "c" * 64, bytes(9))
    assert stored_paths(shelf, "Good day.", "How are you?", "Goodbye.") == [True, False, True]
    await shelf.put(HARBOUR, "d" * 64, bytes(31))  # kept, but not here
    assert stored_paths(shelf, "Good day.", "Goodbye.") == [True, True]


async def test_one_flow_fills_at_most_half_of_it_with_what_comes_first(rendered_flow):
    shelf = rendered_flow.create_cache(max_bytes=50)
    await shelf.load_keys(HARBOUR, [cached_audio("Good day."), cached_audio("How are you?"), cached_audio("Goodbye.")])
    assert stored_paths(shelf, "Good day.", "How are you?", "Goodbye.") == [True, True, False]


async def test_a_storage_that_is_away_is_left_alone_and_no_call_notices(rendered_flow):
    shelf = rendered_flow.create_cache()
    rendered_flow.storage.is_unavailable = True
    await shelf.load_keys(HARBOUR, [cached_audio("Good day.")])
    await shelf.load_keys(HARBOUR, [cached_audio("How are you?")])
    assert stored_paths(shelf, *SENTENCES) == [False, False]
    assert len(rendered_flow.storage.requests) == 1


async def test_a_database_that_does_not_answer_is_not_noticed_either(rendered_flow, tmp_path):
    without_tables = Database(f"sqlite+aiosqlite:///{tmp_path}/another.db")
    shelf = PromptCache(rendered_flow.storage, without_tables, rendered_flow.wall)
    await shelf.load_keys(HARBOUR, [cached_audio("Good day.")])
    assert stored_paths(shelf, "Good day.") == [False]
    await without_tables.aclose()


async def test_a_storage_that_stalls_does_not_hold_a_call_up(rendered_flow):
    class Stalling(FaultyStorage):
        async def get(self, path, start, end):
            """See Storage."""
            await asyncio.Event().wait()

    shelf = PromptCache(
        Stalling(rendered_flow.wall), rendered_flow.database, rendered_flow.wall, load_timeout_seconds=0.05
    )
    await shelf.load_keys(HARBOUR, [cached_audio("Good day.")])
    assert stored_paths(shelf, "Good day.") == [False]
    await shelf.aclose()


async def test_whatever_a_storage_does_no_call_notices(rendered_flow):
    class Broken(FaultyStorage):
        async def get(self, path, start, end):
            """See Storage."""
            raise ValueError("what is this?")

    await PromptCache(Broken(rendered_flow.wall), rendered_flow.database, rendered_flow.wall).load_keys(
        HARBOUR, [cached_audio("Good day.")]
    )


async def test_a_sound_that_somebody_removed_is_rendered_again(rendered_flow):
    shelf, renderer = rendered_flow.create_cache(), rendered_flow.create_worker()
    await rendered_flow.storage.delete([object_path(HARBOUR, cached_audio("Good day."))])
    await shelf.load_keys(HARBOUR, [cached_audio("Good day.")])
    assert (await rendered_flow.get_progress(renderer)).pending == 1
    rendered_flow.now += SECOND
    assert await renderer.run_due() == 1
    assert object_path(HARBOUR, cached_audio("Good day.")) in rendered_flow.storage.objects


async def test_a_real_voice_in_a_real_folder_from_promotion_to_call(prompt_env, tmp_path):
    text = "Thank you for calling. {{ tenant.name }} is closed."
    await prompt_env.promote_flow(text)
    synthesizer = LocalSynthesizer()
    storage, plans = ObjectStorage(str(tmp_path / "storage")), PromptManifests(same_voice)
    shelf = PromptCache(storage, prompt_env.database, prompt_env.wall)
    renderer = PromptRenderWorker(
        prompt_env.database, shelf, plans, FallbackSynthesizer({"local": synthesizer}).render, prompt_env.wall
    )
    await renderer.start()

    async def done():
        return (await prompt_env.get_progress(renderer)).ready == 8

    try:
        await prompt_env.wait_until(done)
    finally:
        await renderer.aclose()
        await synthesizer.aclose()
    rendered = PreloadingPromptCache(
        PromptCache(storage, prompt_env.database, prompt_env.wall), PromptManifests(same_voice)
    )  # of another process
    async with prompt_env.database.read() as connection:
        tenant, _ = await tenants.load_tenant(connection, HARBOUR)
    await rendered.preload(tenant, load_flow(flow_document(text)))
    for sentence in split_sentences("Thank you for calling. Harbour is closed."):
        sound = rendered.get(HARBOUR, VOICE, sentence)
        assert 4_000 < len(sound) < 40_000
    await rendered.cache.aclose()
