import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.pretty import pretty_repr

from tests.emulators.elevenlabs import OTHER_VOICE, VOICE, ElevenLabsEmulator
from tests.emulators.fault_plan import Fault
from tests.support.resource_checks import SOON_SECONDS, resources_in_use, wait_until_equal
from vocelio.codecs import mulaw
from vocelio.engine.voice import Voice
from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import synthesizer as module
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

GREETING = "Thank you for calling Example. Say sales, billing or support."
LONG = "This sentence is one of very many. " * 20
PATIENCE = 2.0  # of the hasty one


def make_voice(name: str = VOICE, **changes) -> Voice:
    return Voice(tier="elevenlabs", name=name, **changes)


@pytest.fixture
async def emulator() -> AsyncIterator[ElevenLabsEmulator]:
    speaker = LocalSynthesizer()
    await speaker.start()  # a worker takes half a second to start
    async with ElevenLabsEmulator(LocalRecognizer(), speaker, ()) as emulator:
        yield emulator
    await speaker.aclose()


@pytest.fixture
async def synthesizer(emulator: ElevenLabsEmulator) -> AsyncIterator[ElevenLabsSynthesizer]:
    async with open_synthesizer(emulator) as synthesizer:
        yield synthesizer


@pytest.fixture
async def impatient_synthesizer(emulator: ElevenLabsEmulator) -> AsyncIterator[ElevenLabsSynthesizer]:
    """A synthesizer with a short timeout, which fails on a slow machine."""
    async with open_synthesizer(emulator, max_lag_seconds=PATIENCE) as synthesizer:
        yield synthesizer


@asynccontextmanager
async def open_synthesizer(emulator: ElevenLabsEmulator, **how) -> AsyncIterator[ElevenLabsSynthesizer]:
    synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings(emulator.key, emulator.base_url), **how)
    yield synthesizer
    await synthesizer.aclose()
    assert synthesizer.requests == 0


async def synthesize(synthesizer: ElevenLabsSynthesizer, text: str, requested_voice: Voice | None = None) -> bytes:
    return b"".join([chunk async for chunk in synthesizer.speak(text, requested_voice or make_voice())])


async def test_audio_is_received_byte_for_byte(emulator: ElevenLabsEmulator, synthesizer: ElevenLabsSynthesizer):
    sound = await synthesize(synthesizer, GREETING)
    (requested,) = emulator.spoken
    assert sound == requested.sound
    assert 3 < len(sound) / mulaw.SAMPLE_RATE < 5
    assert (requested.text, requested.voice_id, requested.model) == (GREETING, VOICE, "eleven_flash_v2_5")
    assert requested.language == "en"
    assert not requested.cancelled


async def test_audio_is_streamed(synthesizer: ElevenLabsSynthesizer):
    await synthesizer.start()
    began, times = time.monotonic(), []
    async for chunk in synthesizer.speak(GREETING, make_voice()):
        assert len(chunk) <= 400
        times.append(time.monotonic() - began)
    assert times[0] < times[-1] / 2


@pytest.mark.parametrize(("speed", "sent"), [(0.25, 0.7), (1.0, 1.0), (4.0, 1.2)])
async def test_speed_is_limited_to_the_services_range(emulator, synthesizer, speed: float, sent: float):
    await synthesize(synthesizer, "yes", make_voice(speed=speed))
    assert emulator.spoken[-1].speed == sent


async def test_language_is_not_sent_to_models_without_languages(emulator: ElevenLabsEmulator):
    account = ElevenLabsSettings(emulator.key, emulator.base_url)
    synthesizer = ElevenLabsSynthesizer(account, model="eleven_multilingual_v2")
    assert await synthesize(synthesizer, "yes", make_voice(OTHER_VOICE, language="de-DE"))
    assert (emulator.spoken[-1].model, emulator.spoken[-1].language) == ("eleven_multilingual_v2", None)
    await synthesizer.aclose()


async def test_connection_is_reused_for_consecutive_texts(emulator, synthesizer):
    await synthesizer.start()
    for number in range(5):
        await synthesize(synthesizer, f"number {number}")
        assert emulator.sockets == 1


async def test_closing_the_iterator_cancels_the_request(emulator, synthesizer):
    speech = synthesizer.speak(LONG, make_voice())
    assert await anext(speech)
    began = time.monotonic()
    await speech.aclose()
    assert time.monotonic() - began < SOON_SECONDS
    assert synthesizer.requests == 0
    await wait_until_equal(lambda: emulator.spoken[-1].cancelled, True)
    await wait_until_equal(lambda: emulator.sockets, 0)
    assert await synthesize(synthesizer, "yes")


async def test_canceling_the_waiting_task_cancels_the_request(emulator, synthesizer):
    emulator.orders.synthesis = "stall"
    task = asyncio.create_task(synthesize(synthesizer, GREETING))
    await wait_until_equal(lambda: bool(emulator.spoken), True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until_equal(lambda: emulator.sockets, 0)


FAULTS: dict[Fault, type[SpeechError]] = {
    "refuse": SpeechError,
    "401": AuthenticationFailed,
    "429": SpeechError,
    "500": SpeechError,
    "silent": SpeechError,
    "stall": SpeechError,
    "drip": SpeechError,
    "garbage": SpeechError,
    "abrupt": SpeechError,
    "slow_close": SpeechError,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_raises_an_error_in_time(emulator, synthesizer, impatient_synthesizer, fault: Fault):
    await synthesize(synthesizer, "yes")
    emulator.orders.synthesis = fault
    began = time.monotonic()
    with pytest.raises(SpeechError) as raised:
        await synthesize(impatient_synthesizer, "secret words")
    assert type(raised.value) is FAULTS[fault]
    sound = 0.9 if fault == "slow_close" else 0.25  # seconds that had come and prolonged the patience
    assert time.monotonic() - began < PATIENCE + sound + SOON_SECONDS
    assert "secret" not in str(raised.value)
    assert emulator.key not in str(raised.value)
    emulator.orders.synthesis = ""
    assert await synthesize(synthesizer, "yes")


async def test_unreachable_service_is_an_error(emulator, synthesizer):
    async with emulator.closed():
        with pytest.raises(SpeechError, match="reached"):
            await synthesize(synthesizer, "yes")
    assert await synthesize(synthesizer, "yes")


async def test_exhausted_quota_is_an_authentication_failure(synthesizer):
    with pytest.raises(AuthenticationFailed, match="quota_exceeded"):
        await synthesize(synthesizer, "quota secret")


async def test_wrong_key_fails_start(emulator, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings("sk_wrong", emulator.base_url))
    with pytest.raises(AuthenticationFailed) as raised:
        await synthesizer.start()
    assert "sk_wrong" not in f"{raised.value} {caplog.text}"
    await synthesizer.aclose()


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\nbreak"])
async def test_malformed_key_is_never_sent(emulator, key: str):
    synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings(key, emulator.base_url))
    with pytest.raises(AuthenticationFailed):
        await synthesizer.start()
    with pytest.raises(AuthenticationFailed):
        await synthesize(synthesizer, "yes")
    assert not emulator.requests
    await synthesizer.aclose()


@pytest.mark.parametrize("fault", ["refuse", "429", "500", "silent", "drip", "garbage", "abrupt"])
async def test_service_works_after_a_failed_start(emulator, impatient_synthesizer, fault: Fault):
    emulator.orders.synthesis = fault
    began = time.monotonic()
    with pytest.raises(SpeechError):
        await impatient_synthesizer.start()
    assert time.monotonic() - began < PATIENCE + SOON_SECONDS
    emulator.orders.synthesis = ""
    await impatient_synthesizer.start()
    assert await synthesize(impatient_synthesizer, "yes")


async def test_unknown_voice_or_language_is_not_supported(emulator, synthesizer):
    with pytest.raises(RequestNotSupported, match="voice_not_found"):
        await synthesize(synthesizer, "yes", make_voice("a" * 20))
    with pytest.raises(RequestNotSupported, match="unsupported_language"):
        await synthesize(synthesizer, "yes", make_voice(language="tlh-QO"))


@pytest.mark.parametrize("name", ["", "../../v1/models?", "a/b", "a b", "ä"])
async def test_malformed_voice_id_is_never_sent(emulator, synthesizer, name: str):
    with pytest.raises(RequestNotSupported, match="voice"):
        await synthesize(synthesizer, "yes", make_voice(name))
    with pytest.raises(RequestNotSupported, match=str(module.MAX_TEXT_LENGTH)):
        await synthesize(synthesizer, "a" * (module.MAX_TEXT_LENGTH + 1))
    assert await synthesize(synthesizer, " \n") == b""
    assert not emulator.requests


async def test_special_characters_are_plain_text(emulator, synthesizer):
    assert await synthesize(synthesizer, "<speak> \0 \x07 &amp; \udcff ☎ 你好 done")


async def test_requests_over_the_limit_are_rejected_at_once(emulator, synthesizer):
    speeches = [synthesizer.speak("one two three", make_voice()) for _ in range(module.MAX_REQUESTS)]
    await asyncio.gather(*(anext(speech) for speech in speeches))
    assert synthesizer.requests == module.MAX_REQUESTS
    with pytest.raises(SpeechError, match="full"):
        await synthesize(synthesizer, "yes")
    await asyncio.gather(*(speech.aclose() for speech in speeches))
    assert await synthesize(synthesizer, "yes")


@pytest.mark.parametrize("fault", ["silent", "stall", "drip", "slow_close"])
async def test_aclose_fails_open_syntheses_in_time(emulator, fault: Fault):
    synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings(emulator.key, emulator.base_url), max_lag_seconds=30)
    await synthesizer.start()
    emulator.orders.synthesis = fault
    tasks = [asyncio.create_task(synthesize(synthesizer, GREETING)) for _ in range(5)]
    paused = synthesizer.speak("hello there", make_voice())
    await wait_until_equal(lambda: emulator.requests.total() - emulator.requests["/v1/models"], 5)
    if fault != "silent":
        await anext(paused)
    began = time.monotonic()
    await synthesizer.aclose()
    assert time.monotonic() - began < SOON_SECONDS
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, SpeechError)
    with pytest.raises(SpeechError):
        await anext(paused)
    await wait_until_equal(lambda: emulator.sockets, 0)


async def test_many_texts_leave_no_resources(emulator):
    async def speak_some() -> None:
        synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings(emulator.key, emulator.base_url))
        await synthesizer.start()
        outcomes = await asyncio.gather(*(synthesize(synthesizer, f"number {number}") for number in range(30)))
        assert all(len(sound) > mulaw.SAMPLE_RATE / 4 for sound in outcomes)
        await synthesizer.aclose()
        await wait_until_equal(lambda: emulator.sockets, 0)

    await speak_some()
    before = resources_in_use()
    await speak_some()
    after = resources_in_use()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 1  # a thread of the loop's own pool
    assert after[2] <= before[2]


def test_key_is_not_shown_in_representations():
    account = ElevenLabsSettings("sk_secret")
    assert "sk_secret" not in f"{account} {account!r} {pretty_repr(account)}"
