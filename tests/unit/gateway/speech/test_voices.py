"""Voices: who speaks when somebody fails, from where, how soon, and what is told of it."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest

from tests.unit.gateway.speech.providers import Speaker
from tests.virtual_time import in_virtual_time
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.circuit_breaker import FIRST_PAUSE
from vocelio.gateway.speech.fallback_synthesizer import DEADLINE, PAUSE, Voices, chain
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError, Unsuitable
from vocelio.gateway.speech.providers import Keyless
from vocelio.gateway.speech.telemetry import Sounded, Synthesised, Troubled, untold

DOWN = SpeechError("it is down")
RACHEL = Voice("elevenlabs", "rachel", "en-US", 1.1, (Voice("azure", "ava"), Voice("local", "en-gb")))
TEXT = "This is one. And this is two. Here is three."


class Shelf:
    def __init__(self, **sounds):
        self.sounds = sounds

    def get(self, tenant, voice, sentence):
        return self.sounds.get(sentence.split()[0]) if (tenant, voice.tier) == ("harbour", "elevenlabs") else None


def voices(*speakers, shelf=None, tiers=("elevenlabs", "azure", "local")):
    return Voices(dict(zip(tiers, speakers, strict=False)), shelf)


async def spoken(made, text=TEXT, voice=RACHEL):
    """The sound, what was told, and when the first sound came, and the longest time without any."""
    loop, told, sound, at = asyncio.get_running_loop(), [], b"", [asyncio.get_running_loop().time()]
    async with aclosing(made.speak("harbour", text, voice, told.append)) as chunks:
        async for chunk in chunks:
            at.append(loop.time())
            sound += chunk
    return sound, told, max(later - earlier for earlier, later in pairwise(at))


def of(told, kind):
    return [fact for fact in told if isinstance(fact, kind)]


@in_virtual_time
async def test_sentence_by_sentence_with_the_voice_that_was_asked_for():
    best, other = Speaker(), Speaker()
    sound, told, _ = await spoken(voices(best, other))
    assert sound == PAUSE.join([b"\x7e" * 8000] * 3)
    assert best.texts == ["This is one.", "And this is two.", "Here is three."]
    assert {voice.name for voice in best.voices} == {"rachel"}
    assert other.texts == []
    assert of(told, Sounded) == [Sounded("elevenlabs")]
    assert [(fact.provider, fact.characters) for fact in of(told, Synthesised)] == [
        ("elevenlabs", 12),
        ("elevenlabs", 16),
        ("elevenlabs", 14),
    ]


@pytest.mark.parametrize(
    "fault", [DOWN, (3, DOWN), "silent", (3, "silent"), "drip", CredentialsRefused("expired"), Unsuitable("no voice")]
)
@in_virtual_time
async def test_another_voice_goes_on_from_the_sentence_that_broke(fault):
    best, other = Speaker("well", fault, byte=b"\x01"), Speaker(byte=b"\x02")
    sound, told, gap = await spoken(voices(best, other))
    assert other.texts == ["And this is two.", "Here is three."]
    assert {voice.name for voice in other.voices} == {"ava"}
    assert sound.startswith(b"\x01" * 8000)
    assert sound.endswith(b"\x02" * 8000 + PAUSE + b"\x02" * 8000)
    assert gap <= DEADLINE + 0.01
    assert [fact.provider for fact in of(told, Sounded)] == ["elevenlabs", "azure"]
    assert [(fact.provider, fact.service) for fact in of(told, Troubled)] == [("elevenlabs", "synthesis")]
    assert best.open == other.open == 0


@in_virtual_time
async def test_two_that_are_silent_leave_less_than_four_seconds_of_nothing():
    local = Speaker(byte=b"\x03")
    sound, told, gap = await spoken(voices(Speaker("silent"), Speaker("silent"), local))
    assert sound == PAUSE.join([b"\x03" * 8000] * 3)
    assert {voice.name for voice in local.voices} == {"en-gb"}
    assert gap <= 2 * DEADLINE + 0.01
    assert len(of(told, Troubled)) == 2


@in_virtual_time
async def test_when_nobody_can_speak_the_last_error_says_why():
    with pytest.raises(SpeechError, match="down"):
        await spoken(voices(Speaker(DOWN), Speaker(DOWN)))


class Mute(Speaker):
    async def speak(self, text, voice):
        self.texts.append(text)
        return
        yield


@in_virtual_time
async def test_silence_for_words_is_a_failure_of_the_request_only():
    mute, other = Mute(), Speaker()
    made = voices(mute, other)
    for _ in range(5):
        await spoken(made, "Hello.")
    assert len(mute.texts) == len(other.texts) == 5, "the breaker stays closed"


@in_virtual_time
async def test_a_sentence_of_which_only_the_end_does_not_come_is_not_said_twice():
    best, other = Speaker((10, "silent")), Speaker()
    _, told, _ = await spoken(voices(best, other), "This is one. And two.")
    assert (best.texts, other.texts) == (["This is one."], ["And two."])
    assert len(of(told, Troubled)) == 1


@in_virtual_time
async def test_a_slow_listener_is_not_the_providers_fault():
    best = Speaker()
    made = voices(best, Speaker())
    async with aclosing(made.speak("harbour", TEXT, RACHEL, untold)) as chunks:
        async for _ in chunks:
            await asyncio.sleep(5)
    assert len(best.texts) == 3


@in_virtual_time
async def test_a_provider_that_fails_again_and_again_is_left_alone_until_a_probe_goes_well():
    best, other = Speaker(DOWN), Speaker()
    made = voices(best, other)
    for _ in range(5):
        await spoken(made, "Hello there.")
    assert len(best.texts) == 3
    assert made.report()[0].state == "open"
    assert (made.report()[0].failures, made.report()[0].last_error) == (3, "it is down")
    await asyncio.sleep(FIRST_PAUSE + 0.1)
    assert best.texts[3:] == ["Hello."], "the probe"
    best.does = ["well"]
    await asyncio.sleep(FIRST_PAUSE + 0.1)
    assert len(best.texts) == 4, "the pause has doubled"
    await asyncio.sleep(FIRST_PAUSE + 0.1)
    assert len(best.texts) == 5
    await spoken(made, "Hello there.")
    assert best.texts[-1] == "Hello there."
    assert made.report()[0].state == "closed"
    await made.aclose()


@in_virtual_time
async def test_credentials_that_are_refused_are_not_tried_on_callers():
    best, other = Speaker(CredentialsRefused("the key has expired")), Speaker()
    best.started = CredentialsRefused("the key has expired")
    made = voices(best, other)
    await made.start()
    await spoken(made, "Hello there.")
    assert best.texts == []
    assert made.report()[0].last_error == "the key has expired"
    await made.aclose()


@in_virtual_time
async def test_local_speech_alone_that_cannot_be_had_is_an_error_at_the_start():
    only = Speaker()
    only.started = DOWN
    with pytest.raises(SpeechError, match="down"):
        await voices(only, tiers=("local",)).start()


@in_virtual_time
async def test_a_start_that_hangs_is_not_waited_for():
    class Hanging(Speaker):
        async def start(self):
            await asyncio.sleep(1000)

    made = voices(Hanging(), Speaker())
    await made.start()
    assert asyncio.get_running_loop().time() < 10
    assert "not ready" in made.report()[0].last_error


@in_virtual_time
async def test_a_provider_that_cannot_even_be_started_keeps_nobody_from_speaking(caplog):
    best, other = Speaker(), Speaker()
    best.started = ImportError("a proxy's library is not installed")
    made = voices(best, other)
    await made.start()
    _, told, _ = await spoken(made)
    assert of(told, Sounded) == [Sounded("azure")]
    report = made.report()[0]
    assert (report.state, report.last_error) == ("open", "elevenlabs could not be started; the log says how")
    assert "proxy" in caplog.text
    await made.aclose()


@in_virtual_time
async def test_without_its_key_a_provider_is_in_trouble_and_others_speak():
    made = voices(Keyless("ELEVENLABS_API_KEY"), Speaker())
    await made.start()
    await asyncio.sleep(100)  # probes, too
    _, told, silence = await spoken(made)
    assert (of(told, Sounded), silence) == ([Sounded("azure")], 0)
    assert (made.report()[0].state, made.report()[0].last_error) == ("open", "ELEVENLABS_API_KEY is missing")
    await made.aclose()


@in_virtual_time
async def test_one_that_was_late_in_this_turn_is_not_waited_for_again():
    best, other = Speaker(), Speaker()
    made, told = voices(best, other), []
    async with aclosing(made.speak("harbour", TEXT, RACHEL, told.append, ("elevenlabs",))) as chunks:
        assert [chunk async for chunk in chunks]
    assert (best.texts, len(other.texts)) == ([], 3)
    async with aclosing(made.speak("harbour", TEXT, RACHEL, told.append, ("elevenlabs", "azure"))) as chunks:
        assert [chunk async for chunk in chunks]
    assert len(best.texts) == 3, "if there is another"


@in_virtual_time
async def test_what_was_asked_and_gave_no_sound_in_time_is_told_too():
    made = voices(Speaker((0, "silent")), Speaker())
    _, told, _ = await spoken(made, "This is one.")
    assert of(told, Synthesised)[0] == Synthesised("elevenlabs", 12, None)
    told = []
    speaking = asyncio.ensure_future(anext(made.speak("harbour", "This is one.", RACHEL, told.append)))
    await asyncio.sleep(0.5)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    assert of(told, Synthesised) == [Synthesised("elevenlabs", 12, None)]
    refused = voices(Speaker(DOWN), Speaker())
    _, told, _ = await spoken(refused, "This is one.")
    assert [fact.provider for fact in of(told, Synthesised)] == ["azure"]


def test_a_voice_is_never_its_own_fallback():
    spanish = Voice("azure", "es-ES-AlvaroNeural", "es-ES", fallbacks=(Voice("azure", "ava"), Voice("local")))
    assert [voice.name for voice in chain(spanish, ("azure", "local"))] == ["es-ES-AlvaroNeural", "en-us"]


@in_virtual_time
async def test_what_stands_on_the_shelf_is_asked_of_nobody():
    best = Speaker()
    made = voices(best, shelf=Shelf(This=b"\x05" * 10, And=b"\x06" * 10, Here=b"\x07" * 10))
    assert made.ready("harbour", TEXT, RACHEL) == ("elevenlabs", PAUSE.join(bytes([at]) * 10 for at in (5, 6, 7)))
    assert made.ready("other", TEXT, RACHEL) is None
    sound, told, _ = await spoken(made, TEXT)
    assert (len(sound), best.texts) == (30 + 2 * len(PAUSE), [])
    assert told == [Sounded("elevenlabs")]


@in_virtual_time
async def test_what_is_not_on_the_shelf_is_spoken_between_what_is():
    best = Speaker(byte=b"\x01")
    made = voices(best, shelf=Shelf(This=b"\x05" * 10, Here=b"\x07" * 10))
    assert made.ready("harbour", TEXT, RACHEL) is None
    sound, _, _ = await spoken(made)
    assert sound == b"\x05" * 10 + PAUSE + b"\x01" * 8000 + PAUSE + b"\x07" * 10
    assert best.texts == ["And this is two."]


@in_virtual_time
async def test_without_the_provider_of_a_tier_its_fallbacks_speak():
    azure = Speaker()
    made = voices(azure, tiers=("azure",))
    await spoken(made, "Hello.")
    assert azure.voices == [Voice("azure", "ava")]
    assert chain(Voice("azure", "ava", "en-US", 1.0, (Voice(),)), ["azure"])[0].name == "ava"
    (stand_in,) = chain(Voice("local", "en-us", "de-DE", 1.2), ["azure"])
    assert (stand_in.tier, stand_in.language, stand_in.speed) == ("azure", "de-DE", 1.2)


@in_virtual_time
async def test_rendering_uses_that_voice_or_fails():
    best, other = Speaker(byte=b"\x01"), Speaker(byte=b"\x02")
    made = voices(best, other)
    assert await made.render("Hello.", RACHEL) == b"\x01" * 8000
    best.does = [DOWN]
    with pytest.raises(SpeechError):
        await made.render("Hello.", RACHEL)
    assert other.texts == []
    with pytest.raises(SpeechError, match="not configured"):
        await made.render("Hello.", Voice())


@in_virtual_time
async def test_rendering_that_fails_takes_no_voice_from_callers():
    best = Speaker(DOWN)
    made = voices(best, Speaker())
    for _ in range(5):
        with pytest.raises(SpeechError):
            await made.render("Hello.", RACHEL)
    assert made.report()[0].state == "closed"
    best.does = [CredentialsRefused("expired")]
    with pytest.raises(CredentialsRefused):
        await made.render("Hello.", RACHEL)
    with pytest.raises(SpeechError, match="left alone"):
        await made.render("Hello.", RACHEL)
    await made.aclose()


@in_virtual_time
async def test_a_voice_that_nobody_has_does_not_keep_a_provider_away():
    best = Speaker(DOWN)
    made = voices(best, Speaker())
    for _ in range(3):
        await spoken(made, "Hello there.")
    best.does = [Unsuitable("no such voice")]
    await asyncio.sleep(FIRST_PAUSE + 0.1)
    assert made.report()[0].state == "closed"
    await made.aclose()


@in_virtual_time
async def test_a_provider_that_is_too_slow_for_callers_is_too_slow_for_the_probe():
    class Slow(Speaker):
        async def speak(self, text, voice):
            self.texts.append(text)
            await asyncio.sleep(2.5)
            yield b"\x7e" * 8000

    slow = Slow()
    made = voices(slow, Speaker())
    for _ in range(60):
        await spoken(made, "Hello there.")
        await asyncio.sleep(5)
    assert slow.texts.count("Hello there.") == 3
    assert slow.texts.count("Hello.") <= 9
    await made.aclose()


@in_virtual_time
async def test_a_number_that_broke_off_is_said_again():
    best, other = Speaker((14, "silent")), Speaker()
    await spoken(voices(best, other), "Did you say 4155550123?")
    assert other.texts == ["Did you say 4155550123?"]


@in_virtual_time
async def test_a_prompt_that_nobody_wants_to_hear_to_its_end_was_well():
    best = Speaker()
    made = voices(best, Speaker())
    told = []
    async with aclosing(made.speak("harbour", "This is one.", RACHEL, told.append)) as chunks:
        await anext(chunks)
    assert made.report()[0].successes == 1
    assert of(told, Synthesised)
