"""Calls with prompts that were pre-rendered at promotion: no provider synthesizes during the call."""

import asyncio
import statistics
import time
from contextlib import aclosing

from tests.acceptance.test_speech_providers import CALLER_VOICE, VOICES, SharedService, emulated_provider
from tests.integration.calls.test_calls_on_database import assign_number, put_and_promote, seed_database
from tests.support.running_gateway import NUMBER, running_gateway
from vocelio.engine.voice import Voice
from vocelio.gateway.calls.media.prompt_player import PromptPlayer
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.prompts.cache import PreloadingPromptCache, PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.simulator.caller.script import PressKeys, SimulatedCaller, Speak
from vocelio.gateway.speech.fakes import ToneSynthesizer
from vocelio.gateway.speech.fallback_recognizer import FallbackRecognizer
from vocelio.gateway.speech.fallback_synthesizer import FallbackSynthesizer, fallback_voices
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.providers import SpeechServices
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.database import Database


async def test_front_desk_plays_pre_rendered_prompts_only(front_desk, offline_speech, tmp_path):
    listener, speaker = offline_speech
    database, cipher = Database(f"sqlite+aiosqlite:///{tmp_path}/calls.db"), SecretCipher(["a key of the test"])
    await database.migrate()
    await seed_database(database)
    await put_and_promote(database, "front-desk", {**front_desk, "voice": VOICES["azure"]})
    await assign_number(database, NUMBER, "front-desk")
    vocabulary = ("sales please", "sales")
    async with emulated_provider("azure", listener, speaker, vocabulary=vocabulary) as (azure, recognizer, synthesizer):
        manifests = PromptManifests(lambda voice: fallback_voices(voice, ["azure", "local"])[0])
        prompt_cache = PromptCache(ObjectStorage(str(tmp_path / "storage")), database, wall_clock)
        preloading_cache = PreloadingPromptCache(prompt_cache, manifests)
        fallback_synthesizer = FallbackSynthesizer(
            {"azure": synthesizer, "local": SharedService(speaker)}, preloading_cache
        )
        render_worker = PromptRenderWorker(database, prompt_cache, manifests, fallback_synthesizer.render, wall_clock)
        await render_worker.reconciler.reconcile()
        await render_worker.process_due()
        rendered_texts = [spoken.text for spoken in azure.spoken]
        assert len(rendered_texts) == len(set(rendered_texts)) > 5
        assert "One moment, I am connecting you to sales." in rendered_texts
        directory, call_store = DatabaseDirectory(database, cipher, wall_clock), WriteBehindCallStore(database, cipher)
        speech = SpeechServices(
            FallbackRecognizer({"azure": recognizer, "local": SharedService(listener)}), fallback_synthesizer
        )
        async with (
            running_gateway(
                None, directory=directory, call_store=call_store, speech=speech, prompts=preloading_cache
            ) as running,
            aclosing(LocalSynthesizer()) as voice,
        ):
            for step in (Speak("sales please"), PressKeys("1"), PressKeys("1")):
                await running.call(SimulatedCaller([step], voice, CALLER_VOICE))
        assert [spoken.text for spoken in azure.spoken] == rendered_texts, "nothing was synthesized for a call"
        await prompt_cache.aclose()
    await database.aclose()
    outcomes = [event["outcome"] for event in running.bus.data_of("call.ended")]
    assert outcomes == ["transferred"] * 3
    assert running.bus.data_of("prompt.failed") == []
    assert len([event for event in running.bus.data_of("prompt.started") if "latency" in event]) >= 3
    assert all(event["playout_gap_ms"] == 0 for event in running.bus.data_of("prompt.finished"))


async def test_first_audio_of_a_cached_prompt_is_immediate():
    """Milliseconds from the Speak action to the first media message sent."""

    class CachedPrompts:
        def get(self, tenant, voice, sentence):
            return b"\x7e" * 8000

    clock, sent, latencies_ms = time.perf_counter, asyncio.Event(), []
    player = PromptPlayer(
        FallbackSynthesizer({"local": ToneSynthesizer()}, CachedPrompts()),
        "harbour",
        "MZ1",
        lambda message: "media" in message and sent.set(),
        *(lambda *_: None for _ in range(4)),
    )
    for number in range(50):
        begun = clock()
        player.speak(f"p{number}", "Thank you for calling. How can we help?", Voice(), ())
        await sent.wait()
        latencies_ms.append((clock() - begun) * 1000)
        player.stop(f"p{number}")
        sent.clear()
    player.close()
    assert statistics.median(latencies_ms) < 5
