import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.emulators.elevenlabs import ElevenLabsEmulator
from tests.emulators.fault_plan import Fault
from tests.support import recognition_client
from tests.support.recognition_client import FRAME_BYTES, PAUSE_AUDIO
from tests.support.resource_checks import SOON_SECONDS, loop_not_blocked, resources_in_use, wait_until_equal
from vocelio.engine.voice import Voice
from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import recognition
from vocelio.gateway.speech.elevenlabs import recognizer as module
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    RecognitionHints,
    RequestNotSupported,
    SpeechError,
    Transcript,
)
from vocelio.gateway.speech.local.grammar import normalize_phrase
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

PHRASES = ("billing", "technical help", "buy something", "my invoice")
MENU = RecognitionHints(PHRASES)
LONG_PAUSE = PAUSE_AUDIO * 5  # 1.5 s
PATIENCE = 1.5

pytestmark = pytest.mark.asyncio(loop_scope="module")


class CountingRecognitionClient(recognition_client.RecognitionClient):
    """Counts callbacks, and closes after the final transcript, as a call does."""

    def __init__(self, recognizer: ElevenLabsRecognizer, expectation: RecognitionHints = MENU) -> None:
        self.calls = 0
        super().__init__(recognizer, expectation)

    def _on_transcript(self, transcript: Transcript) -> None:
        self.calls += 1
        super()._on_transcript(transcript)
        if transcript.final:
            self.recognition.close()

    def _on_error(self, error: SpeechError) -> None:
        self.calls += 1
        super()._on_error(error)
        self.recognition.close()


async def recognize(recognizer: ElevenLabsRecognizer, audio: bytes) -> Transcript:
    client = CountingRecognitionClient(recognizer)
    client.feed(PAUSE_AUDIO + audio + PAUSE_AUDIO)
    client.recognition.finish()
    return await client.result()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local_recognizer() -> AsyncIterator[LocalRecognizer]:
    client = LocalRecognizer(workers=2)
    await client.start()
    yield client
    await client.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller_audio() -> dict[str, bytes]:
    speaker = LocalSynthesizer()
    said = {text: b"".join([chunk async for chunk in speaker.speak(text, Voice())]) for text in PHRASES}
    await speaker.aclose()
    return said


@pytest_asyncio.fixture(loop_scope="module")
async def emulator(local_recognizer: LocalRecognizer) -> AsyncIterator[ElevenLabsEmulator]:
    async with ElevenLabsEmulator(local_recognizer, LocalSynthesizer(), PHRASES) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def recognizer(emulator: ElevenLabsEmulator) -> AsyncIterator[ElevenLabsRecognizer]:
    recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url))
    yield recognizer
    await recognizer.aclose()
    assert recognizer.sessions == 0
    await wait_until_equal(lambda: emulator.sockets, 0)


async def test_utterance_is_recognized(emulator, recognizer, caller_audio):
    await recognizer.start()
    for text, sound in caller_audio.items():
        transcript = await recognize(recognizer, sound)
        assert normalize_phrase(transcript.text) == text
        assert transcript.confidence > 0.5
    assert emulator.transcripts == list(PHRASES)
    await wait_until_equal(lambda: recognizer.sessions, 0)


async def test_session_is_opened_before_the_first_audio(emulator, recognizer, caller_audio):
    client = CountingRecognitionClient(recognizer)
    await wait_until_equal(lambda: len(emulator.sessions), 1)
    await asyncio.sleep(0.05)
    assert emulator.sessions[0].received == 0
    client.feed(PAUSE_AUDIO + caller_audio["billing"] + PAUSE_AUDIO)
    client.recognition.finish()
    assert (await client.result()).text == "Billing."
    assert len(emulator.sessions) == 1


async def test_partials_come_before_the_final_with_lower_confidence(recognizer, caller_audio):
    client = CountingRecognitionClient(recognizer)
    client.feed(PAUSE_AUDIO + caller_audio["technical help"] + PAUSE_AUDIO)
    async with asyncio.timeout(3 * SOON_SECONDS):
        await client.any_partial.wait()
    assert not client.outcome.done()
    client.recognition.finish()
    final = await client.result()
    assert final.text == "Technical help."
    assert client.partials[-1].confidence < final.confidence


async def test_service_may_end_the_utterance(recognizer, caller_audio):
    client = CountingRecognitionClient(recognizer)
    client.feed(PAUSE_AUDIO + caller_audio["billing"] + LONG_PAUSE)
    assert (await client.result()).text == "Billing."
    client.recognition.finish()
    await asyncio.sleep(0.1)
    assert client.calls == len(client.partials) + 1


@pytest.mark.parametrize("order", ["", "tardy"])  # before finish() comes the noise's own empty text, or after it
async def test_noise_before_the_speech_does_not_end_the_recognition(emulator, recognizer, caller_audio, order: Fault):
    emulator.orders.recognition = order
    client = CountingRecognitionClient(recognizer)
    noise = bytes(range(0, 256, 8)) * 200  # loud, and no word
    client.feed(PAUSE_AUDIO + noise + LONG_PAUSE)
    await wait_until_equal(lambda: [session.heard for session in emulator.sessions], [[""]])
    await asyncio.sleep(recognition.EMPTY_RESULT_DELAY_SECONDS + 0.1)
    assert not client.outcome.done()
    client.feed(caller_audio["my invoice"] + PAUSE_AUDIO)
    client.recognition.finish()
    assert (await client.result()).text == "My invoice."


@pytest.mark.parametrize("audio", [b"", PAUSE_AUDIO[:80], PAUSE_AUDIO[: FRAME_BYTES * 14], LONG_PAUSE], ids=len)
async def test_unrecognized_audio_gives_an_empty_final(emulator, recognizer, audio: bytes):
    client = CountingRecognitionClient(recognizer)
    client.feed(audio)
    client.recognition.finish()
    client.recognition.finish()
    assert await client.result() == Transcript("", 0.0, final=True)
    await wait_until_equal(lambda: recognizer.sessions, 0)
    assert client.calls == 1


@pytest.mark.parametrize("after", [0, 0.002, 0.01, 0.1])
async def test_immediate_close_leaves_no_session(emulator, recognizer, caller_audio, after: float):
    clients = [CountingRecognitionClient(recognizer) for _ in range(5)]
    for client in clients:
        client.feed(PAUSE_AUDIO + caller_audio["billing"] + PAUSE_AUDIO)
        client.recognition.finish()
    await asyncio.sleep(after)
    calls = [client.calls for client in clients]
    for client in clients:
        client.recognition.close()
        client.recognition.close()
        client.recognition.feed(PAUSE_AUDIO)
        client.recognition.finish()
    await wait_until_equal(lambda: (recognizer.sessions, emulator.sockets), (0, 0))
    assert [client.calls for client in clients] == calls


async def test_twenty_concurrent_recognitions(recognizer, caller_audio):
    async def hear_in_real_time(text: str) -> Transcript:
        client, sound = CountingRecognitionClient(recognizer), PAUSE_AUDIO + caller_audio[text] + PAUSE_AUDIO
        for start in range(0, len(sound), FRAME_BYTES):
            client.recognition.feed(sound[start : start + FRAME_BYTES])
            await asyncio.sleep(0.02)
        client.recognition.finish()
        return await client.result()

    said = [PHRASES[number % len(PHRASES)] for number in range(20)]
    async with loop_not_blocked():  # by the emulator either
        transcript = await asyncio.gather(*map(hear_in_real_time, said))
    assert [normalize_phrase(item.text) for item in transcript] == said


FAULTS: dict[Fault, type[SpeechError] | None] = {
    "refuse": SpeechError,
    "401": AuthenticationFailed,
    "429": SpeechError,
    "500": SpeechError,
    "silent": SpeechError,
    "stall": SpeechError,
    "drip": SpeechError,
    "garbage": SpeechError,
    "abrupt": SpeechError,
    "slow_close": None,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_ends_in_time(emulator, recognizer, caller_audio, fault: Fault):
    assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."
    hasty = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url), timeout_seconds=PATIENCE)
    await hasty.start()
    emulator.orders.recognition = fault
    began = time.monotonic()
    if expected := FAULTS[fault]:
        with pytest.raises(SpeechError) as raised:
            await recognize(hasty, caller_audio["billing"])
        assert type(raised.value) is expected
        assert "illing" not in str(raised.value)
    else:
        assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."
    assert time.monotonic() - began < PATIENCE + SOON_SECONDS
    await wait_until_equal(lambda: hasty.sessions + recognizer.sessions, 0)
    await hasty.aclose()
    emulator.orders.recognition = ""
    assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."


async def test_unreachable_service_is_an_error(emulator, recognizer, caller_audio):
    async with emulator.closed():
        with pytest.raises(SpeechError, match="lost"):
            await CountingRecognitionClient(recognizer).result()
    assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."


async def test_wrong_key_fails_start_and_every_recognition(emulator, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    recognizer = ElevenLabsRecognizer(ElevenLabsSettings("sk_wrong", emulator.base_url))
    with pytest.raises(AuthenticationFailed):
        await recognizer.start()
    with pytest.raises(AuthenticationFailed) as raised:
        await CountingRecognitionClient(recognizer).result()
    await recognizer.aclose()
    assert "sk_wrong" not in f"{raised.value} {caplog.text}"


async def test_service_works_after_a_failed_start(emulator, recognizer, caller_audio):
    emulator.orders.recognition = "500"
    with pytest.raises(SpeechError):
        await recognizer.start()
    emulator.orders.recognition = ""
    assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."


async def test_invalid_language_is_not_supported(recognizer):
    with pytest.raises(RequestNotSupported, match="invalid_request"):
        await CountingRecognitionClient(recognizer, RecognitionHints(("yes",), language="english-US")).result()


async def test_session_url_has_hints_only(emulator, recognizer):
    phrases = ("yes", "yes", " a phrase of too many letters", "a b c d e f", "<yes>", "", *map(str, range(60)))
    for silence in (0.1, 0.6, 9.0):
        CountingRecognitionClient(recognizer, RecognitionHints(phrases, language="de-DE", silence_seconds=silence))
    await wait_until_equal(lambda: len(emulator.sessions), 3)
    received_values = [session.query["vad_silence_threshold_secs"] for session in emulator.sessions]
    assert sorted(received_values) == ["0.35", "0.60", "3.00"]
    assert emulator.sessions[0].query["language_code"] == "de"
    assert emulator.sessions[0].keyterms == ["yes", *map(str, range(49))]


async def test_idle_session_is_reopened_with_the_first_audio(local_recognizer, caller_audio):
    async with ElevenLabsEmulator(local_recognizer, LocalSynthesizer(), PHRASES, idle=0.2) as emulator:
        recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url))
        listening = CountingRecognitionClient(recognizer)
        await wait_until_equal(lambda: [session.open for session in emulator.sessions], [False])
        await asyncio.sleep(0.3)
        assert len(emulator.sessions) == 1
        listening.feed(PAUSE_AUDIO + caller_audio["billing"] + PAUSE_AUDIO)
        listening.recognition.finish()
        assert (await listening.result()).text == "Billing."
        await recognizer.aclose()


async def test_audio_that_crossed_the_close_of_an_idle_session_is_sent_again(local_recognizer, caller_audio):
    async with ElevenLabsEmulator(local_recognizer, LocalSynthesizer(), PHRASES, idle=0.4) as emulator:
        recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url))
        listening = CountingRecognitionClient(recognizer)
        middle = len(caller_audio["billing"]) // 2
        listening.feed(PAUSE_AUDIO + caller_audio["billing"][:middle])
        await wait_until_equal(lambda: [session.open for session in emulator.sessions][:1], [False])
        listening.feed(caller_audio["billing"][middle:] + PAUSE_AUDIO)
        listening.recognition.finish()
        assert (await listening.result()).text == "Billing."
        assert len(emulator.sessions) == 2
        await recognizer.aclose()


async def test_repeated_session_end_during_speech_is_an_error(local_recognizer, caller_audio):
    async with ElevenLabsEmulator(local_recognizer, LocalSynthesizer(), PHRASES, idle=0.1) as emulator:
        recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url))
        listening = CountingRecognitionClient(recognizer)
        listening.feed(PAUSE_AUDIO + caller_audio["billing"])
        with pytest.raises(SpeechError, match="during speech"):
            await listening.result()
        assert len(emulator.sessions) == 2
        await recognizer.aclose()


async def test_utterance_over_the_limit_fails(recognizer):
    client = CountingRecognitionClient(recognizer)
    client.recognition.feed(bytes(recognition.MAX_UTTERANCE_BYTES + 1))
    assert client.calls == 0  # never from inside the call
    with pytest.raises(SpeechError, match="60 s"):
        await client.result()


async def test_requests_over_the_limit_are_rejected(recognizer):
    clients = [CountingRecognitionClient(recognizer) for _ in range(module.MAX_SESSIONS)]
    with pytest.raises(SpeechError, match="full"):
        CountingRecognitionClient(recognizer)
    for client in clients:
        client.recognition.close()
    await wait_until_equal(lambda: recognizer.sessions, 0)


async def test_service_that_does_not_read_blocks_nothing(emulator, recognizer):
    emulator.orders.recognition = "stall"
    client = CountingRecognitionClient(recognizer)
    client.feed(LONG_PAUSE * 30)
    await asyncio.sleep(0.3)
    client.recognition.close()
    await wait_until_equal(lambda: recognizer.sessions, 0)


async def test_slow_close_does_not_delay_other_sessions(emulator, recognizer, caller_audio):
    emulator.orders.recognition = "slow_close"
    for text in PHRASES:
        assert normalize_phrase((await recognize(recognizer, caller_audio[text])).text) == text
    emulator.orders.recognition = ""
    async with loop_not_blocked(), asyncio.timeout(SOON_SECONDS):
        assert (await recognize(recognizer, caller_audio["billing"])).text == "Billing."
        await wait_until_equal(lambda: recognizer.sessions, 0)


@pytest.mark.parametrize("fault", ["", "silent", "stall", "drip", "slow_close"])
async def test_aclose_fails_open_recognitions_in_time(emulator, caller_audio, fault: Fault):
    recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url), timeout_seconds=30)
    emulator.orders.recognition = fault
    clients = [CountingRecognitionClient(recognizer) for _ in range(5)]
    for client in clients:
        client.feed(PAUSE_AUDIO + caller_audio["billing"])
    await wait_until_equal(lambda: len(emulator.sessions), 5)
    began = time.monotonic()
    await recognizer.aclose()
    assert time.monotonic() - began < SOON_SECONDS
    assert recognizer.sessions == 0
    for client in clients:
        with pytest.raises(SpeechError, match="closed"):
            await client.result()
    with pytest.raises(SpeechError, match="closed"):
        CountingRecognitionClient(recognizer)
    await wait_until_equal(lambda: emulator.sockets, 0)


async def test_many_sessions_leave_no_resources(emulator, caller_audio):
    async def hear_some() -> tuple[int, int, int]:
        recognizer = ElevenLabsRecognizer(ElevenLabsSettings(emulator.key, emulator.base_url))
        await recognizer.start()
        for _ in range(6):
            for transcript in await asyncio.gather(*(recognize(recognizer, caller_audio["billing"]) for _ in range(5))):
                assert transcript.text == "Billing."
        await wait_until_equal(lambda: recognizer.sessions, 0)
        await recognizer.aclose()
        await wait_until_equal(lambda: emulator.sockets, 0)
        return resources_in_use()

    before, after = await hear_some(), await hear_some()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 1  # a thread of the loop's own pool
    assert after[2] <= before[2]
