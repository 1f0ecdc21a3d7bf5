"""A call finds in memory what was rendered, and nothing that goes wrong reaches it."""

import asyncio

import pytest

from tests.integration.rendered.world import AVA, HARBOUR, SECOND, Storage, as_written
from tests.integration.store.things import document
from vocelio.engine.prompts.sentences import split
from vocelio.engine.validation.loader import load
from vocelio.engine.voice import Voice
from vocelio.gateway.prompts.cache import Rendered, Shelf
from vocelio.gateway.prompts.keys import address, fingerprint, path
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.speech.fallback_synthesizer import Voices
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.tenants import tenants

VOICE = Voice()
SENTENCES = ["Good day.", "How are you?"]


def of(sentence, voice=VOICE):
    return address(fingerprint(voice), sentence)


@pytest.fixture
async def made(world):
    """A flow, rendered by a process that has ended."""
    await world.promote()
    await world.rendered(world.renderer())
    world.storage.asked.clear()
    return world


def on(shelf, *sentences, tenant=HARBOUR):
    return [shelf.get(tenant, VOICE, sentence) is not None for sentence in sentences]


async def test_what_is_loaded_is_there_at_once(made):
    shelf = made.shelf()
    assert on(shelf, *SENTENCES) == [False, False]
    await shelf.load(HARBOUR, [of(sentence) for sentence in SENTENCES])
    assert on(shelf, *SENTENCES) == [True, True]
    assert len(shelf.get(HARBOUR, VOICE, "Good day.")) == len("Good day.")
    await shelf.load(HARBOUR, [of(sentence) for sentence in SENTENCES])
    assert len(made.storage.asked) == 2
    assert shelf.get("zebra", VOICE, "Good day.") is None  # each tenant's own
    assert shelf.get(HARBOUR, AVA, "Good day.") is None


async def test_the_address_is_that_of_everything_that_is_heard():
    one = of("Hello.")
    assert len(one) == 64
    assert fingerprint(AVA) == "azure/en-US-AvaNeural/en-US/1.0//"
    assert fingerprint(Voice("elevenlabs", "x")) == "elevenlabs/x/en-US/1.0//eleven_flash_v2_5"
    others = [Voice(name="de"), Voice(language="de-DE"), Voice(speed=1.1), Voice("azure"), Voice(style="cheerful")]
    assert len({one, of("Hello"), *(of("Hello.", voice) for voice in others)}) == 7
    assert of("Hello.", Voice(fallbacks=(AVA,))) == one


async def test_what_is_not_rendered_is_not_looked_for(world):
    await world.promote()
    renderer, shelf = world.renderer(), world.shelf()
    await renderer.keeper.reconcile()
    await shelf.load(HARBOUR, [of("Good day."), "f" * 64])
    assert on(shelf, "Good day.") == [False]
    assert world.storage.asked == []


async def test_what_is_not_there_is_not_asked_for_by_every_call(made):
    patient, eager = made.shelf(), made.shelf(absent_seconds=0.01)
    for shelf in (patient, eager):
        await shelf.load(HARBOUR, [of("Later.")])
    await render_queue.enter(made.database, HARBOUR, [render_queue.Wanted(of("Later."), "Later.", VOICE)], made.now)
    await made.rendered(made.renderer())
    await asyncio.sleep(0.02)
    for shelf in (patient, eager):
        await shelf.load(HARBOUR, [of("Later.")])
    assert (on(patient, "Later."), on(eager, "Later.")) == ([False], [True])


async def test_calls_that_begin_together_fetch_once(made):
    shelf = made.shelf()
    await asyncio.gather(*(shelf.load(HARBOUR, [of("Good day.")]) for _ in range(5)))
    assert len(made.storage.asked) == 1


async def test_memory_is_bounded_and_what_was_heard_longest_ago_makes_room(made):
    shelf = made.shelf(held=30)
    for sentence in ("Good day.", "How are you?", "Goodbye."):  # 9, 12 and 8 bytes
        await shelf.load(HARBOUR, [of(sentence)])
    await shelf.load(HARBOUR, [of("Good day.")])  # another call's
    await shelf.keep(HARBOUR, "c" * 64, bytes(9))
    assert on(shelf, "Good day.", "How are you?", "Goodbye.") == [True, False, True]
    await shelf.keep(HARBOUR, "d" * 64, bytes(31))  # kept, but not here
    assert on(shelf, "Good day.", "Goodbye.") == [True, True]


async def test_one_flow_fills_at_most_half_of_it_with_what_comes_first(made):
    shelf = made.shelf(held=50)
    await shelf.load(HARBOUR, [of("Good day."), of("How are you?"), of("Goodbye.")])
    assert on(shelf, "Good day.", "How are you?", "Goodbye.") == [True, True, False]


async def test_a_storage_that_is_away_is_left_alone_and_no_call_notices(made):
    shelf = made.shelf()
    made.storage.away = True
    await shelf.load(HARBOUR, [of("Good day.")])
    await shelf.load(HARBOUR, [of("How are you?")])
    assert on(shelf, *SENTENCES) == [False, False]
    assert len(made.storage.asked) == 1


async def test_a_database_that_does_not_answer_is_not_noticed_either(made, tmp_path):
    without_tables = Database(f"sqlite+aiosqlite:///{tmp_path}/another.db")
    shelf = Shelf(made.storage, without_tables, made.wall)
    await shelf.load(HARBOUR, [of("Good day.")])
    assert on(shelf, "Good day.") == [False]
    await without_tables.aclose()


async def test_a_storage_that_stalls_does_not_hold_a_call_up(made):
    class Stalling(Storage):
        async def get(self, path, start, end):
            """See Storage."""
            await asyncio.Event().wait()

    shelf = Shelf(Stalling(made.wall), made.database, made.wall, load_seconds=0.05)
    await shelf.load(HARBOUR, [of("Good day.")])
    assert on(shelf, "Good day.") == [False]
    await shelf.aclose()


async def test_whatever_a_storage_does_no_call_notices(made):
    class Broken(Storage):
        async def get(self, path, start, end):
            """See Storage."""
            raise ValueError("what is this?")

    await Shelf(Broken(made.wall), made.database, made.wall).load(HARBOUR, [of("Good day.")])


async def test_a_sound_that_somebody_removed_is_rendered_again(made):
    shelf, renderer = made.shelf(), made.renderer()
    await made.storage.delete([path(HARBOUR, of("Good day."))])
    await shelf.load(HARBOUR, [of("Good day.")])
    assert (await made.progress(renderer)).pending == 1
    made.now += SECOND
    assert await renderer.run_due() == 1
    assert path(HARBOUR, of("Good day.")) in made.storage.objects


async def test_a_real_voice_in_a_real_folder_from_promotion_to_call(world, tmp_path):
    text = "Thank you for calling. {{ tenant.name }} is closed."
    await world.promote(text)
    synthesizer = LocalSynthesizer()
    storage, plans = ObjectStorage(str(tmp_path / "storage")), Plans(as_written)
    shelf = Shelf(storage, world.database, world.wall)
    renderer = Renderer(world.database, shelf, plans, Voices({"local": synthesizer}).render, world.wall)
    await renderer.start()

    async def done():
        return (await world.progress(renderer)).ready == 8

    try:
        await world.until(done)
    finally:
        await renderer.aclose()
        await synthesizer.aclose()
    rendered = Rendered(Shelf(storage, world.database, world.wall), Plans(as_written))  # of another process
    async with world.database.reading() as connection:
        tenant, _ = await tenants.read(connection, HARBOUR)
    await rendered.prepare(tenant, load(document(text)))
    for sentence in split("Thank you for calling. Harbour is closed."):
        sound = rendered.get(HARBOUR, VOICE, sentence)
        assert 4_000 < len(sound) < 40_000
    await rendered.shelf.aclose()
