"""Calls whose prompts were rendered at promotion: no provider speaks in them, and nobody waits for one."""

import asyncio
import statistics
import time
from contextlib import aclosing

from tests.acceptance.test_providers import CALLERS_VOICE, VOICES, Shared, emulated
from tests.gateway import NUMBER, gateway
from tests.integration.test_stored_calls import fill, lead, promote
from vocelio.engine.voice import Voice
from vocelio.gateway.calls.media.prompt_player import Speaking
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.prompts.cache import Rendered, Shelf
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.simulator.caller.script import Caller, Press, Speak
from vocelio.gateway.speech.fakes import ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import Ears
from vocelio.gateway.speech.fallback_synthesizer import Voices, chain
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.services import Speech
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.routing.database import DatabaseSite


async def test_the_front_desk_asks_no_provider_to_speak(front_desk, offline, tmp_path):
    ear, mouth = offline
    database, vault = Database(f"sqlite+aiosqlite:///{tmp_path}/calls.db"), Vault(["a key of the test"])
    await database.migrate()
    await fill(database)
    await promote(database, "front-desk", {**front_desk, "voice": VOICES["azure"]})
    await lead(database, NUMBER, "front-desk")
    vocabulary = ("sales please", "sales")
    async with emulated("azure", ear, mouth, vocabulary=vocabulary) as (azure, recognizer, synthesizer):
        plans = Plans(lambda voice: chain(voice, ["azure", "local"])[0])
        shelf = Shelf(ObjectStorage(str(tmp_path / "storage")), database, wall_clock)
        rendered = Rendered(shelf, plans)
        voices = Voices({"azure": synthesizer, "local": Shared(mouth)}, rendered)
        renderer = Renderer(database, shelf, plans, voices.render, wall_clock)
        await renderer.keeper.reconcile()
        await renderer.run_due()
        once = [spoken.text for spoken in azure.spoken]
        assert len(once) == len(set(once)) > 5
        assert "One moment, I am connecting you to sales." in once
        site, journal = DatabaseSite(database, vault, wall_clock), DatabaseJournal(database, vault)
        speech = Speech(Ears({"azure": recognizer, "local": Shared(ear)}), voices)
        async with (
            gateway(None, site=site, journal=journal, speech=speech, prompts=rendered) as running,
            aclosing(LocalSynthesizer()) as voice,
        ):
            for step in (Speak("sales please"), Press("1"), Press("1")):
                await running.call(Caller([step], voice, CALLERS_VOICE))
        assert [spoken.text for spoken in azure.spoken] == once, "nothing was spoken for a call"
        await shelf.aclose()
    await database.aclose()
    outcomes = [event["outcome"] for event in running.bus.of("call.ended")]
    assert outcomes == ["transferred"] * 3
    assert running.bus.of("prompt.failed") == []
    assert len([event for event in running.bus.of("prompt.started") if "latency" in event]) >= 3
    assert all(event["late_ms"] == 0 for event in running.bus.of("prompt.finished"))


async def test_the_first_sound_goes_out_at_once():
    """Milliseconds from the action that speaks to the first sound on its way to Twilio."""

    class Rendered:
        def get(self, tenant, voice, sentence):
            return b"\x7e" * 8000

    clock, sent, took = time.perf_counter, asyncio.Event(), []
    speaking = Speaking(
        Voices({"local": ToneSynthesizer()}, Rendered()),
        "harbour",
        "MZ1",
        lambda message: "media" in message and sent.set(),
        *(lambda *_: None for _ in range(4)),
    )
    for number in range(50):
        begun = clock()
        speaking.speak(f"p{number}", "Thank you for calling. How can we help?", Voice(), ())
        await sent.wait()
        took.append((clock() - begun) * 1000)
        speaking.stop(f"p{number}")
        sent.clear()
    speaking.close()
    assert statistics.median(took) < 5
