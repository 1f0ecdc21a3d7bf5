"""Fallback synthesizer: which voice speaks after failures, from where, how soon, and which events it reports."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest

from tests.support.fake_providers import ScriptedSynthesizer
from tests.support.virtual_time import in_virtual_time
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.circuit_breaker import PROBE_BACKOFF
from vocelio.gateway.speech.fallback_synthesizer import (
    MAX_LAG_SECONDS,
    SENTENCE_PAUSE,
    FallbackSynthesizer,
    fallback_voices,
)
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    FirstAudio,
    ProviderFailure,
    RequestNotSupported,
    SpeechError,
    SynthesisUsage,
    ignore_event,
)
from vocelio.gateway.speech.providers import UnconfiguredProvider

PROVIDER_DOWN = SpeechError("it is down")
RACHEL_VOICE = Voice("elevenlabs", "rachel", "en-US", 1.1, (Voice("azure", "ava"), Voice("local", "en-gb")))
TEXT = "This is one. And this is two. Here is three."


class FakePromptCache:
    def __init__(self, **sounds):
        self.sounds = sounds

    def get(self, tenant, voice, sentence):
        return self.sounds.get(sentence.split()[0]) if (tenant, voice.tier) == ("harbour", "elevenlabs") else None


def make_synthesizer(*synthesizers, prompt_cache=None, tiers=("elevenlabs", "azure", "local")):
    return FallbackSynthesizer(dict(zip(tiers, synthesizers, strict=False)), prompt_cache)


async def synthesize(synthesizer, text=TEXT, voice=RACHEL_VOICE):
    """Return the audio, the events, and the longest time without audio."""
    loop, events, audio, chunk_times = asyncio.get_running_loop(), [], b"", [asyncio.get_running_loop().time()]
    async with aclosing(synthesizer.speak("harbour", text, voice, events.append)) as chunks:
        async for chunk in chunks:
            chunk_times.append(loop.time())
            audio += chunk
    return audio, events, max(later - earlier for earlier, later in pairwise(chunk_times))


def events_of(events, event_type):
    return [event for event in events if isinstance(event, event_type)]


@in_virtual_time
async def test_text_is_spoken_sentence_by_sentence_in_the_requested_voice():
    primary, secondary = ScriptedSynthesizer(), ScriptedSynthesizer()
    audio, events, _ = await synthesize(make_synthesizer(primary, secondary))
    assert audio == SENTENCE_PAUSE.join([b"\x7e" * 8000] * 3)
    assert primary.texts == ["This is one.", "And this is two.", "Here is three."]
    assert {voice.name for voice in primary.voices} == {"rachel"}
    assert secondary.texts == []
    assert events_of(events, FirstAudio) == [FirstAudio("elevenlabs")]
    assert [(event.provider, event.characters) for event in events_of(events, SynthesisUsage)] == [
        ("elevenlabs", 12),
        ("elevenlabs", 16),
        ("elevenlabs", 14),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        PROVIDER_DOWN,
        (3, PROVIDER_DOWN),
        "silent",
        (3, "silent"),
        "drip",
        AuthenticationFailed("expired"),
        RequestNotSupported("no voice"),
    ],
)
@in_virtual_time
async def test_next_voice_continues_from_the_failed_sentence(fault):
    primary, secondary = ScriptedSynthesizer("well", fault, byte=b"\x01"), ScriptedSynthesizer(byte=b"\x02")
    audio, events, longest_gap = await synthesize(make_synthesizer(primary, secondary))
    assert secondary.texts == ["And this is two.", "Here is three."]
    assert {voice.name for voice in secondary.voices} == {"ava"}
    assert audio.startswith(b"\x01" * 8000)
    assert audio.endswith(b"\x02" * 8000 + SENTENCE_PAUSE + b"\x02" * 8000)
    assert longest_gap <= MAX_LAG_SECONDS + 0.01
    assert [event.provider for event in events_of(events, FirstAudio)] == ["elevenlabs", "azure"]
    assert [(event.provider, event.service) for event in events_of(events, ProviderFailure)] == [
        ("elevenlabs", "synthesis")
    ]
    assert primary.open_streams == secondary.open_streams == 0


@in_virtual_time
async def test_two_silent_providers_cause_less_than_four_seconds_of_silence():
    local = ScriptedSynthesizer(byte=b"\x03")
    audio, events, longest_gap = await synthesize(
        make_synthesizer(ScriptedSynthesizer("silent"), ScriptedSynthesizer("silent"), local)
    )
    assert audio == SENTENCE_PAUSE.join([b"\x03" * 8000] * 3)
    assert {voice.name for voice in local.voices} == {"en-gb"}
    assert longest_gap <= 2 * MAX_LAG_SECONDS + 0.01
    assert len(events_of(events, ProviderFailure)) == 2


@in_virtual_time
async def test_last_error_is_raised_when_all_providers_fail():
    with pytest.raises(SpeechError, match="down"):
        await synthesize(make_synthesizer(ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer(PROVIDER_DOWN)))


class SilentSynthesizer(ScriptedSynthesizer):
    async def speak(self, text, voice, tenant=""):
        self.texts.append(text)
        return
        yield


@in_virtual_time
async def test_missing_audio_does_not_open_the_breaker():
    mute, secondary = SilentSynthesizer(), ScriptedSynthesizer()
    synthesizer = make_synthesizer(mute, secondary)
    for _ in range(5):
        await synthesize(synthesizer, "Hello.")
    assert len(mute.texts) == len(secondary.texts) == 5, "the breaker stays closed"


@in_virtual_time
async def test_sentence_missing_only_its_end_is_not_repeated():
    primary, secondary = ScriptedSynthesizer((10, "silent")), ScriptedSynthesizer()
    _, events, _ = await synthesize(make_synthesizer(primary, secondary), "This is one. And two.")
    assert (primary.texts, secondary.texts) == (["This is one."], ["And two."])
    assert len(events_of(events, ProviderFailure)) == 1


@in_virtual_time
async def test_slow_consumer_does_not_count_as_provider_lag():
    primary = ScriptedSynthesizer()
    synthesizer = make_synthesizer(primary, ScriptedSynthesizer())
    async with aclosing(synthesizer.speak("harbour", TEXT, RACHEL_VOICE, ignore_event)) as chunks:
        async for _ in chunks:
            await asyncio.sleep(5)
    assert len(primary.texts) == 3


@in_virtual_time
async def test_open_breaker_excludes_a_synthesizer_until_a_probe_succeeds():
    primary, secondary = ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer()
    synthesizer = make_synthesizer(primary, secondary)
    for _ in range(5):
        await synthesize(synthesizer, "Hello there.")
    assert len(primary.texts) == 3
    assert synthesizer.status()[0].state == "open"
    assert (synthesizer.status()[0].failures, synthesizer.status()[0].last_error) == (3, "it is down")
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert primary.texts[3:] == ["Hello."], "the probe"
    primary.behaviors = ["well"]
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert len(primary.texts) == 4, "the pause has doubled"
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert len(primary.texts) == 5
    await synthesize(synthesizer, "Hello there.")
    assert primary.texts[-1] == "Hello there."
    assert synthesizer.status()[0].state == "closed"
    await synthesizer.aclose()


@in_virtual_time
async def test_rejected_credentials_open_the_breaker_before_any_call():
    primary, secondary = ScriptedSynthesizer(AuthenticationFailed("the key has expired")), ScriptedSynthesizer()
    primary.start_error = AuthenticationFailed("the key has expired")
    synthesizer = make_synthesizer(primary, secondary)
    await synthesizer.start()
    await synthesize(synthesizer, "Hello there.")
    assert primary.texts == []
    assert synthesizer.status()[0].last_error == "the key has expired"
    await synthesizer.aclose()


@in_virtual_time
async def test_start_fails_when_local_speech_is_the_only_provider_and_fails():
    local = ScriptedSynthesizer()
    local.start_error = PROVIDER_DOWN
    with pytest.raises(SpeechError, match="down"):
        await make_synthesizer(local, tiers=("local",)).start()


@in_virtual_time
async def test_hanging_provider_start_does_not_block_the_gateway():
    class Hanging(ScriptedSynthesizer):
        async def start(self):
            await asyncio.sleep(1000)

    synthesizer = make_synthesizer(Hanging(), ScriptedSynthesizer())
    await synthesizer.start()
    assert asyncio.get_running_loop().time() < 10
    assert "not ready" in synthesizer.status()[0].last_error


@in_virtual_time
async def test_provider_start_error_does_not_prevent_speaking(caplog):
    primary, secondary = ScriptedSynthesizer(), ScriptedSynthesizer()
    primary.start_error = ImportError("a proxy's library is not installed")
    synthesizer = make_synthesizer(primary, secondary)
    await synthesizer.start()
    _, events, _ = await synthesize(synthesizer)
    assert events_of(events, FirstAudio) == [FirstAudio("azure")]
    status = synthesizer.status()[0]
    assert (status.state, status.last_error) == ("open", "elevenlabs could not be started; the log has the details")
    assert "proxy" in caplog.text
    await synthesizer.aclose()


@in_virtual_time
async def test_provider_without_key_has_an_open_breaker_and_others_speak():
    synthesizer = make_synthesizer(UnconfiguredProvider("ELEVENLABS_API_KEY"), ScriptedSynthesizer())
    await synthesizer.start()
    await asyncio.sleep(100)  # probes, too
    _, events, longest_gap = await synthesize(synthesizer)
    assert (events_of(events, FirstAudio), longest_gap) == ([FirstAudio("azure")], 0)
    assert (synthesizer.status()[0].state, synthesizer.status()[0].last_error) == (
        "open",
        "ELEVENLABS_API_KEY is missing",
    )
    await synthesizer.aclose()


@in_virtual_time
async def test_slow_tiers_are_skipped_if_there_is_another():
    primary, secondary = ScriptedSynthesizer(), ScriptedSynthesizer()
    synthesizer, events = make_synthesizer(primary, secondary), []
    async with aclosing(synthesizer.speak("harbour", TEXT, RACHEL_VOICE, events.append, ("elevenlabs",))) as chunks:
        assert [chunk async for chunk in chunks]
    assert (primary.texts, len(secondary.texts)) == ([], 3)
    async with aclosing(
        synthesizer.speak("harbour", TEXT, RACHEL_VOICE, events.append, ("elevenlabs", "azure"))
    ) as chunks:
        assert [chunk async for chunk in chunks]
    assert len(primary.texts) == 3, "if there is another"


@in_virtual_time
async def test_usage_without_audio_is_reported():
    synthesizer = make_synthesizer(ScriptedSynthesizer((0, "silent")), ScriptedSynthesizer())
    _, events, _ = await synthesize(synthesizer, "This is one.")
    assert events_of(events, SynthesisUsage)[0] == SynthesisUsage("elevenlabs", 12, None)
    events = []
    task = asyncio.ensure_future(anext(synthesizer.speak("harbour", "This is one.", RACHEL_VOICE, events.append)))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert events_of(events, SynthesisUsage) == [SynthesisUsage("elevenlabs", 12, None)]
    failing = make_synthesizer(ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer())
    _, events, _ = await synthesize(failing, "This is one.")
    assert [event.provider for event in events_of(events, SynthesisUsage)] == ["azure"]


def test_voice_is_never_its_own_fallback():
    spanish = Voice("azure", "es-ES-AlvaroNeural", "es-ES", fallbacks=(Voice("azure", "ava"), Voice("local")))
    assert [voice.name for voice in fallback_voices(spanish, ("azure", "local"))] == ["es-ES-AlvaroNeural", "en-us"]


@in_virtual_time
async def test_cached_sentences_are_not_synthesized():
    primary = ScriptedSynthesizer()
    synthesizer = make_synthesizer(
        primary, prompt_cache=FakePromptCache(This=b"\x05" * 10, And=b"\x06" * 10, Here=b"\x07" * 10)
    )
    assert synthesizer.get_cached("harbour", TEXT, RACHEL_VOICE) == (
        "elevenlabs",
        SENTENCE_PAUSE.join(bytes([chunk_times]) * 10 for chunk_times in (5, 6, 7)),
    )
    assert synthesizer.get_cached("other", TEXT, RACHEL_VOICE) is None
    audio, events, _ = await synthesize(synthesizer, TEXT)
    assert (len(audio), primary.texts) == (30 + 2 * len(SENTENCE_PAUSE), [])
    assert events == [FirstAudio("elevenlabs")]


@in_virtual_time
async def test_uncached_sentence_is_synthesized_between_cached_ones():
    primary = ScriptedSynthesizer(byte=b"\x01")
    synthesizer = make_synthesizer(primary, prompt_cache=FakePromptCache(This=b"\x05" * 10, Here=b"\x07" * 10))
    assert synthesizer.get_cached("harbour", TEXT, RACHEL_VOICE) is None
    audio, _, _ = await synthesize(synthesizer)
    assert audio == b"\x05" * 10 + SENTENCE_PAUSE + b"\x01" * 8000 + SENTENCE_PAUSE + b"\x07" * 10
    assert primary.texts == ["And this is two."]


@in_virtual_time
async def test_fallbacks_speak_when_the_provider_of_a_tier_is_not_configured():
    azure = ScriptedSynthesizer()
    synthesizer = make_synthesizer(azure, tiers=("azure",))
    await synthesize(synthesizer, "Hello.")
    assert azure.voices == [Voice("azure", "ava")]
    assert fallback_voices(Voice("azure", "ava", "en-US", 1.0, (Voice(),)), ["azure"])[0].name == "ava"
    (replacement,) = fallback_voices(Voice("local", "en-us", "de-DE", 1.2), ["azure"])
    assert (replacement.tier, replacement.language, replacement.speed) == ("azure", "de-DE", 1.2)


@in_virtual_time
async def test_render_uses_exactly_the_requested_voice_or_fails():
    primary, secondary = ScriptedSynthesizer(byte=b"\x01"), ScriptedSynthesizer(byte=b"\x02")
    synthesizer = make_synthesizer(primary, secondary)
    assert await synthesizer.render("harbour", "Hello.", RACHEL_VOICE) == b"\x01" * 8000
    primary.behaviors = [PROVIDER_DOWN]
    with pytest.raises(SpeechError):
        await synthesizer.render("harbour", "Hello.", RACHEL_VOICE)
    assert secondary.texts == []
    with pytest.raises(SpeechError, match="not configured"):
        await synthesizer.render("harbour", "Hello.", Voice())


@in_virtual_time
async def test_render_failure_does_not_open_the_breaker():
    primary = ScriptedSynthesizer(PROVIDER_DOWN)
    synthesizer = make_synthesizer(primary, ScriptedSynthesizer())
    for _ in range(5):
        with pytest.raises(SpeechError):
            await synthesizer.render("harbour", "Hello.", RACHEL_VOICE)
    assert synthesizer.status()[0].state == "closed"
    primary.behaviors = [AuthenticationFailed("expired")]
    with pytest.raises(AuthenticationFailed):
        await synthesizer.render("harbour", "Hello.", RACHEL_VOICE)
    with pytest.raises(SpeechError, match="not used for now"):
        await synthesizer.render("harbour", "Hello.", RACHEL_VOICE)
    await synthesizer.aclose()


@in_virtual_time
async def test_probe_with_an_unknown_voice_closes_the_breaker():
    primary = ScriptedSynthesizer(PROVIDER_DOWN)
    synthesizer = make_synthesizer(primary, ScriptedSynthesizer())
    for _ in range(3):
        await synthesize(synthesizer, "Hello there.")
    primary.behaviors = [RequestNotSupported("no such voice")]
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert synthesizer.status()[0].state == "closed"
    await synthesizer.aclose()


@in_virtual_time
async def test_probe_fails_a_provider_that_is_too_slow_for_calls():
    class Slow(ScriptedSynthesizer):
        async def speak(self, text, voice, tenant=""):
            self.texts.append(text)
            await asyncio.sleep(2.5)
            yield b"\x7e" * 8000

    slow = Slow()
    synthesizer = make_synthesizer(slow, ScriptedSynthesizer())
    for _ in range(60):
        await synthesize(synthesizer, "Hello there.")
        await asyncio.sleep(5)
    assert slow.texts.count("Hello there.") == 3
    assert slow.texts.count("Hello.") <= 9
    await synthesizer.aclose()


@in_virtual_time
async def test_interrupted_number_is_repeated():
    primary, secondary = ScriptedSynthesizer((14, "silent")), ScriptedSynthesizer()
    await synthesize(make_synthesizer(primary, secondary), "Did you say 4155550123?")
    assert secondary.texts == ["Did you say 4155550123?"]


@in_virtual_time
async def test_interrupted_prompt_counts_as_success():
    primary = ScriptedSynthesizer()
    synthesizer = make_synthesizer(primary, ScriptedSynthesizer())
    events = []
    async with aclosing(synthesizer.speak("harbour", "This is one.", RACHEL_VOICE, events.append)) as chunks:
        await anext(chunks)
    assert synthesizer.status()[0].successes == 1
    assert events_of(events, SynthesisUsage)
