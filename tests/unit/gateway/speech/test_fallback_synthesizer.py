"""Voices: who speaks when somebody fails, from where, how soon, and what is told of it."""

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


def make_synthesizer(*speakers, shelf=None, tiers=("elevenlabs", "azure", "local")):
    return FallbackSynthesizer(dict(zip(tiers, speakers, strict=False)), shelf)


async def synthesize(made, text=TEXT, voice=RACHEL_VOICE):
    """The sound, what was told, and when the first sound came, and the longest time without any."""
    loop, told, sound, at = asyncio.get_running_loop(), [], b"", [asyncio.get_running_loop().time()]
    async with aclosing(made.speak("harbour", text, voice, told.append)) as chunks:
        async for chunk in chunks:
            at.append(loop.time())
            sound += chunk
    return sound, told, max(later - earlier for earlier, later in pairwise(at))


def events_of(told, kind):
    return [fact for fact in told if isinstance(fact, kind)]


@in_virtual_time
async def test_sentence_by_sentence_with_the_voice_that_was_asked_for():
    best, other = ScriptedSynthesizer(), ScriptedSynthesizer()
    sound, told, _ = await synthesize(make_synthesizer(best, other))
    assert sound == SENTENCE_PAUSE.join([b"\x7e" * 8000] * 3)
    assert best.texts == ["This is one.", "And this is two.", "Here is three."]
    assert {voice.name for voice in best.voices} == {"rachel"}
    assert other.texts == []
    assert events_of(told, FirstAudio) == [FirstAudio("elevenlabs")]
    assert [(fact.provider, fact.characters) for fact in events_of(told, SynthesisUsage)] == [
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
async def test_another_voice_goes_on_from_the_sentence_that_broke(fault):
    best, other = ScriptedSynthesizer("well", fault, byte=b"\x01"), ScriptedSynthesizer(byte=b"\x02")
    sound, told, gap = await synthesize(make_synthesizer(best, other))
    assert other.texts == ["And this is two.", "Here is three."]
    assert {voice.name for voice in other.voices} == {"ava"}
    assert sound.startswith(b"\x01" * 8000)
    assert sound.endswith(b"\x02" * 8000 + SENTENCE_PAUSE + b"\x02" * 8000)
    assert gap <= MAX_LAG_SECONDS + 0.01
    assert [fact.provider for fact in events_of(told, FirstAudio)] == ["elevenlabs", "azure"]
    assert [(fact.provider, fact.service) for fact in events_of(told, ProviderFailure)] == [("elevenlabs", "synthesis")]
    assert best.open_streams == other.open_streams == 0


@in_virtual_time
async def test_two_that_are_silent_leave_less_than_four_seconds_of_nothing():
    local = ScriptedSynthesizer(byte=b"\x03")
    sound, told, gap = await synthesize(
        make_synthesizer(ScriptedSynthesizer("silent"), ScriptedSynthesizer("silent"), local)
    )
    assert sound == SENTENCE_PAUSE.join([b"\x03" * 8000] * 3)
    assert {voice.name for voice in local.voices} == {"en-gb"}
    assert gap <= 2 * MAX_LAG_SECONDS + 0.01
    assert len(events_of(told, ProviderFailure)) == 2


@in_virtual_time
async def test_when_nobody_can_speak_the_last_error_says_why():
    with pytest.raises(SpeechError, match="down"):
        await synthesize(make_synthesizer(ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer(PROVIDER_DOWN)))


class SilentSynthesizer(ScriptedSynthesizer):
    async def speak(self, text, voice):
        self.texts.append(text)
        return
        yield


@in_virtual_time
async def test_silence_for_words_is_a_failure_of_the_request_only():
    mute, other = SilentSynthesizer(), ScriptedSynthesizer()
    made = make_synthesizer(mute, other)
    for _ in range(5):
        await synthesize(made, "Hello.")
    assert len(mute.texts) == len(other.texts) == 5, "the breaker stays closed"


@in_virtual_time
async def test_a_sentence_of_which_only_the_end_does_not_come_is_not_said_twice():
    best, other = ScriptedSynthesizer((10, "silent")), ScriptedSynthesizer()
    _, told, _ = await synthesize(make_synthesizer(best, other), "This is one. And two.")
    assert (best.texts, other.texts) == (["This is one."], ["And two."])
    assert len(events_of(told, ProviderFailure)) == 1


@in_virtual_time
async def test_a_slow_listener_is_not_the_providers_fault():
    best = ScriptedSynthesizer()
    made = make_synthesizer(best, ScriptedSynthesizer())
    async with aclosing(made.speak("harbour", TEXT, RACHEL_VOICE, ignore_event)) as chunks:
        async for _ in chunks:
            await asyncio.sleep(5)
    assert len(best.texts) == 3


@in_virtual_time
async def test_a_provider_that_fails_again_and_again_is_left_alone_until_a_probe_goes_well():
    best, other = ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer()
    made = make_synthesizer(best, other)
    for _ in range(5):
        await synthesize(made, "Hello there.")
    assert len(best.texts) == 3
    assert made.status()[0].state == "open"
    assert (made.status()[0].failures, made.status()[0].last_error) == (3, "it is down")
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert best.texts[3:] == ["Hello."], "the probe"
    best.behaviors = ["well"]
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert len(best.texts) == 4, "the pause has doubled"
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert len(best.texts) == 5
    await synthesize(made, "Hello there.")
    assert best.texts[-1] == "Hello there."
    assert made.status()[0].state == "closed"
    await made.aclose()


@in_virtual_time
async def test_credentials_that_are_refused_are_not_tried_on_callers():
    best, other = ScriptedSynthesizer(AuthenticationFailed("the key has expired")), ScriptedSynthesizer()
    best.start_error = AuthenticationFailed("the key has expired")
    made = make_synthesizer(best, other)
    await made.start()
    await synthesize(made, "Hello there.")
    assert best.texts == []
    assert made.status()[0].last_error == "the key has expired"
    await made.aclose()


@in_virtual_time
async def test_local_speech_alone_that_cannot_be_had_is_an_error_at_the_start():
    only = ScriptedSynthesizer()
    only.start_error = PROVIDER_DOWN
    with pytest.raises(SpeechError, match="down"):
        await make_synthesizer(only, tiers=("local",)).start()


@in_virtual_time
async def test_a_start_that_hangs_is_not_waited_for():
    class Hanging(ScriptedSynthesizer):
        async def start(self):
            await asyncio.sleep(1000)

    made = make_synthesizer(Hanging(), ScriptedSynthesizer())
    await made.start()
    assert asyncio.get_running_loop().time() < 10
    assert "not ready" in made.status()[0].last_error


@in_virtual_time
async def test_a_provider_that_cannot_even_be_started_keeps_nobody_from_speaking(caplog):
    best, other = ScriptedSynthesizer(), ScriptedSynthesizer()
    best.start_error = ImportError("a proxy's library is not installed")
    made = make_synthesizer(best, other)
    await made.start()
    _, told, _ = await synthesize(made)
    assert events_of(told, FirstAudio) == [FirstAudio("azure")]
    report = made.status()[0]
    assert (report.state, report.last_error) == ("open", "elevenlabs could not be started; the log has the details")
    assert "proxy" in caplog.text
    await made.aclose()


@in_virtual_time
async def test_without_its_key_a_provider_is_in_trouble_and_others_speak():
    made = make_synthesizer(UnconfiguredProvider("ELEVENLABS_API_KEY"), ScriptedSynthesizer())
    await made.start()
    await asyncio.sleep(100)  # probes, too
    _, told, silence = await synthesize(made)
    assert (events_of(told, FirstAudio), silence) == ([FirstAudio("azure")], 0)
    assert (made.status()[0].state, made.status()[0].last_error) == ("open", "ELEVENLABS_API_KEY is missing")
    await made.aclose()


@in_virtual_time
async def test_one_that_was_late_in_this_turn_is_not_waited_for_again():
    best, other = ScriptedSynthesizer(), ScriptedSynthesizer()
    made, told = make_synthesizer(best, other), []
    async with aclosing(made.speak("harbour", TEXT, RACHEL_VOICE, told.append, ("elevenlabs",))) as chunks:
        assert [chunk async for chunk in chunks]
    assert (best.texts, len(other.texts)) == ([], 3)
    async with aclosing(made.speak("harbour", TEXT, RACHEL_VOICE, told.append, ("elevenlabs", "azure"))) as chunks:
        assert [chunk async for chunk in chunks]
    assert len(best.texts) == 3, "if there is another"


@in_virtual_time
async def test_what_was_asked_and_gave_no_sound_in_time_is_told_too():
    made = make_synthesizer(ScriptedSynthesizer((0, "silent")), ScriptedSynthesizer())
    _, told, _ = await synthesize(made, "This is one.")
    assert events_of(told, SynthesisUsage)[0] == SynthesisUsage("elevenlabs", 12, None)
    told = []
    speaking = asyncio.ensure_future(anext(made.speak("harbour", "This is one.", RACHEL_VOICE, told.append)))
    await asyncio.sleep(0.5)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    assert events_of(told, SynthesisUsage) == [SynthesisUsage("elevenlabs", 12, None)]
    refused = make_synthesizer(ScriptedSynthesizer(PROVIDER_DOWN), ScriptedSynthesizer())
    _, told, _ = await synthesize(refused, "This is one.")
    assert [fact.provider for fact in events_of(told, SynthesisUsage)] == ["azure"]


def test_a_voice_is_never_its_own_fallback():
    spanish = Voice("azure", "es-ES-AlvaroNeural", "es-ES", fallbacks=(Voice("azure", "ava"), Voice("local")))
    assert [voice.name for voice in fallback_voices(spanish, ("azure", "local"))] == ["es-ES-AlvaroNeural", "en-us"]


@in_virtual_time
async def test_what_stands_on_the_shelf_is_asked_of_nobody():
    best = ScriptedSynthesizer()
    made = make_synthesizer(best, shelf=FakePromptCache(This=b"\x05" * 10, And=b"\x06" * 10, Here=b"\x07" * 10))
    assert made.get_cached("harbour", TEXT, RACHEL_VOICE) == (
        "elevenlabs",
        SENTENCE_PAUSE.join(bytes([at]) * 10 for at in (5, 6, 7)),
    )
    assert made.get_cached("other", TEXT, RACHEL_VOICE) is None
    sound, told, _ = await synthesize(made, TEXT)
    assert (len(sound), best.texts) == (30 + 2 * len(SENTENCE_PAUSE), [])
    assert told == [FirstAudio("elevenlabs")]


@in_virtual_time
async def test_what_is_not_on_the_shelf_is_spoken_between_what_is():
    best = ScriptedSynthesizer(byte=b"\x01")
    made = make_synthesizer(best, shelf=FakePromptCache(This=b"\x05" * 10, Here=b"\x07" * 10))
    assert made.get_cached("harbour", TEXT, RACHEL_VOICE) is None
    sound, _, _ = await synthesize(made)
    assert sound == b"\x05" * 10 + SENTENCE_PAUSE + b"\x01" * 8000 + SENTENCE_PAUSE + b"\x07" * 10
    assert best.texts == ["And this is two."]


@in_virtual_time
async def test_without_the_provider_of_a_tier_its_fallbacks_speak():
    azure = ScriptedSynthesizer()
    made = make_synthesizer(azure, tiers=("azure",))
    await synthesize(made, "Hello.")
    assert azure.voices == [Voice("azure", "ava")]
    assert fallback_voices(Voice("azure", "ava", "en-US", 1.0, (Voice(),)), ["azure"])[0].name == "ava"
    (stand_in,) = fallback_voices(Voice("local", "en-us", "de-DE", 1.2), ["azure"])
    assert (stand_in.tier, stand_in.language, stand_in.speed) == ("azure", "de-DE", 1.2)


@in_virtual_time
async def test_rendering_uses_that_voice_or_fails():
    best, other = ScriptedSynthesizer(byte=b"\x01"), ScriptedSynthesizer(byte=b"\x02")
    made = make_synthesizer(best, other)
    assert await made.render("Hello.", RACHEL_VOICE) == b"\x01" * 8000
    best.behaviors = [PROVIDER_DOWN]
    with pytest.raises(SpeechError):
        await made.render("Hello.", RACHEL_VOICE)
    assert other.texts == []
    with pytest.raises(SpeechError, match="not configured"):
        await made.render("Hello.", Voice())


@in_virtual_time
async def test_rendering_that_fails_takes_no_voice_from_callers():
    best = ScriptedSynthesizer(PROVIDER_DOWN)
    made = make_synthesizer(best, ScriptedSynthesizer())
    for _ in range(5):
        with pytest.raises(SpeechError):
            await made.render("Hello.", RACHEL_VOICE)
    assert made.status()[0].state == "closed"
    best.behaviors = [AuthenticationFailed("expired")]
    with pytest.raises(AuthenticationFailed):
        await made.render("Hello.", RACHEL_VOICE)
    with pytest.raises(SpeechError, match="not used for now"):
        await made.render("Hello.", RACHEL_VOICE)
    await made.aclose()


@in_virtual_time
async def test_a_voice_that_nobody_has_does_not_keep_a_provider_away():
    best = ScriptedSynthesizer(PROVIDER_DOWN)
    made = make_synthesizer(best, ScriptedSynthesizer())
    for _ in range(3):
        await synthesize(made, "Hello there.")
    best.behaviors = [RequestNotSupported("no such voice")]
    await asyncio.sleep(PROBE_BACKOFF.initial_seconds + 0.1)
    assert made.status()[0].state == "closed"
    await made.aclose()


@in_virtual_time
async def test_a_provider_that_is_too_slow_for_callers_is_too_slow_for_the_probe():
    class Slow(ScriptedSynthesizer):
        async def speak(self, text, voice):
            self.texts.append(text)
            await asyncio.sleep(2.5)
            yield b"\x7e" * 8000

    slow = Slow()
    made = make_synthesizer(slow, ScriptedSynthesizer())
    for _ in range(60):
        await synthesize(made, "Hello there.")
        await asyncio.sleep(5)
    assert slow.texts.count("Hello there.") == 3
    assert slow.texts.count("Hello.") <= 9
    await made.aclose()


@in_virtual_time
async def test_a_number_that_broke_off_is_said_again():
    best, other = ScriptedSynthesizer((14, "silent")), ScriptedSynthesizer()
    await synthesize(make_synthesizer(best, other), "Did you say 4155550123?")
    assert other.texts == ["Did you say 4155550123?"]


@in_virtual_time
async def test_a_prompt_that_nobody_wants_to_hear_to_its_end_was_well():
    best = ScriptedSynthesizer()
    made = make_synthesizer(best, ScriptedSynthesizer())
    told = []
    async with aclosing(made.speak("harbour", "This is one.", RACHEL_VOICE, told.append)) as chunks:
        await anext(chunks)
    assert made.status()[0].successes == 1
    assert events_of(told, SynthesisUsage)
