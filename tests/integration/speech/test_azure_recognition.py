import asyncio

import pytest
import pytest_asyncio

from tests.emulators.azure import AzureEmulator
from tests.support.azure_recognition import (
    DIGITS,
    KEY,
    MENU,
    PAUSE_AUDIO,
    MenuRecognitionClient,
    make_account,
    recognize,
    synthesize,
)
from tests.support.free_ports import free_ports
from tests.support.resource_checks import (
    SOON_SECONDS,
    loop_not_blocked,
    silent_server,
    socket_count,
    thread_count,
    wait_until_at_most,
)
from vocelio.engine.nlu import matching
from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure import recognition, recognizer, sdk_resources
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.interfaces import (
    AuthenticationFailed,
    RecognitionHints,
    RequestNotSupported,
    SpeechError,
    Transcript,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
NO_TRANSCRIPT = Transcript("", 0.0, final=True)


@pytest.fixture
def local_recognizer(offline_speech):
    return offline_speech[0]


@pytest.fixture(scope="module")
def local_synthesizer(offline_speech):
    return offline_speech[1]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def billing_audio(local_synthesizer):
    return await synthesize(local_synthesizer, "billing please")


@pytest_asyncio.fixture(loop_scope="module")
async def emulator(local_recognizer, local_synthesizer):
    async with AzureEmulator(local_recognizer, local_synthesizer, MENU.phrases, KEY) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def azure_recognizer(emulator):
    azure = AzureRecognizer(make_account(emulator))
    await azure.start()
    yield azure
    await azure.aclose()


@pytest.mark.parametrize(
    ("said", "written", "meant"),
    [("billing", "Billing.", "billing"), ("technical help please", "Technical help, please.", "support")],
)
async def test_utterance_is_recognized(azure_recognizer, emulator, local_synthesizer, said, written, meant):
    transcript = await recognize(azure_recognizer, await synthesize(local_synthesizer, said))
    assert transcript.text == written
    assert 0 < transcript.confidence <= 1
    assert emulator.heard == [said]
    assert matching.match_choice(transcript.text, {"billing": ["billing"], "support": ["technical help"]}) == meant


async def test_digits_are_recognized_as_numerals(azure_recognizer, local_recognizer, local_synthesizer):
    async with AzureEmulator(local_recognizer, local_synthesizer, DIGITS.phrases[:10], KEY) as emulator:
        azure_recognizer = AzureRecognizer(make_account(emulator))
        transcript = await recognize(
            azure_recognizer, await synthesize(local_synthesizer, "four one three", "en-us+f2"), DIGITS
        )
        await azure_recognizer.aclose()
    assert emulator.contexts[0].get("dgi") is None  # no list of phrases
    assert matching.parse_digits(transcript.text) == transcript.text.rstrip(".")
    assert len(transcript.text) == len("413.")


async def test_audio_arrives_unchanged(azure_recognizer, emulator, billing_audio):
    await recognize(azure_recognizer, billing_audio)
    await wait_until_at_most(lambda: -len(emulator.sounds), -1)
    assert emulator.sounds == [PAUSE_AUDIO + billing_audio + PAUSE_AUDIO]


async def test_partials_come_before_the_final(azure_recognizer, billing_audio):
    client = MenuRecognitionClient(azure_recognizer)
    client.feed(PAUSE_AUDIO + billing_audio)
    async with asyncio.timeout(3 * SOON_SECONDS):
        await client.any_partial.wait()
    assert not client.outcome.done()
    client.recognition.finish()
    final = await client.result()
    assert client.partials[0].text == "billing"
    assert client.partials[0].confidence < final.confidence


async def test_service_may_detect_the_end_of_the_utterance(azure_recognizer, billing_audio):
    client = MenuRecognitionClient(azure_recognizer)
    client.feed(PAUSE_AUDIO + billing_audio + PAUSE_AUDIO * 3)
    assert (await client.result()).text == "Billing, please."
    client.recognition.finish()  # comes too late, and nothing comes of it
    client.feed(PAUSE_AUDIO)
    assert azure_recognizer.sessions == 0


async def test_unrecognized_phrase_does_not_end_the_recognition(azure_recognizer, local_synthesizer, billing_audio):
    client = MenuRecognitionClient(azure_recognizer)
    client.feed(
        PAUSE_AUDIO
        + await synthesize(local_synthesizer, "turn the music down")
        + PAUSE_AUDIO * 3
        + billing_audio
        + PAUSE_AUDIO * 3
    )
    assert (await client.result()).text.startswith("Billing")


@pytest.mark.parametrize(("silence", "milliseconds"), [(0.6, 600), (0.001, 100), (60.0, 5000)])
async def test_silence_seconds_are_sent_to_the_service(
    azure_recognizer, emulator, billing_audio, silence, milliseconds
):
    await recognize(azure_recognizer, billing_audio, RecognitionHints(MENU.phrases, silence_seconds=silence))
    detection = emulator.contexts[-1]["phraseDetection"]
    assert detection["CONVERSATION"]["segmentation"]["segmentationSilenceTimeoutMs"] == milliseconds
    assert detection["enrichment"]["profanity"] == "raw"


async def test_language_and_phrases_are_sent_to_the_service(azure_recognizer, emulator, billing_audio):
    await recognize(azure_recognizer, billing_audio, RecognitionHints(("à bientôt", "billing"), language="fr-FR"))
    context = emulator.contexts[-1]
    assert context["phraseDetection"]["language"] == "fr-FR"
    assert [item["Text"] for item in context["dgi"]["Groups"][0]["Items"]] == ["à bientôt", "billing"]


async def test_unrecognized_utterance_gives_an_empty_final(azure_recognizer, local_synthesizer):
    assert (
        await recognize(azure_recognizer, await synthesize(local_synthesizer, "turn the music down")) == NO_TRANSCRIPT
    )


@pytest.mark.parametrize("sound", [b"", PAUSE_AUDIO])
async def test_silence_gives_an_empty_final(azure_recognizer, sound):
    client = MenuRecognitionClient(azure_recognizer)
    client.feed(sound)
    client.recognition.finish()
    client.recognition.finish()
    assert await client.result() == NO_TRANSCRIPT


async def test_no_callback_after_close(azure_recognizer, emulator, billing_audio):
    clients = [MenuRecognitionClient(azure_recognizer) for _ in range(4)]
    clients[0].recognition.close()  # before the SDK has been called
    await wait_until_at_most(lambda: -emulator.sockets, -3)
    for client in clients:
        client.feed(PAUSE_AUDIO + billing_audio)
    await clients[2].any_partial.wait()
    clients[1].recognition.finish()
    for client in clients:
        client.recognition.close()
        client.recognition.close()
        client.feed(PAUSE_AUDIO)
        client.recognition.finish()
        client.partials.clear()
    await wait_until_at_most(lambda: emulator.sockets, 0)
    assert not any(client.outcome.done() or client.partials for client in clients)
    assert azure_recognizer.sessions == azure_recognizer.stuck == 0


async def test_service_may_close_an_idle_connection(azure_recognizer, emulator, billing_audio):
    client = MenuRecognitionClient(azure_recognizer)
    await wait_until_at_most(lambda: -emulator.opened, -2)  # one was the start's
    emulator.close_sockets()
    await wait_until_at_most(lambda: -emulator.opened, -3)  # the SDK has connected anew
    client.feed(PAUSE_AUDIO + billing_audio + PAUSE_AUDIO)
    client.recognition.finish()
    assert (await client.result()).text == "Billing, please."


async def test_many_concurrent_requests(azure_recognizer, billing_audio):
    transcript = await asyncio.gather(*(recognize(azure_recognizer, billing_audio, live=True) for _ in range(8)))
    assert {entry.text for entry in transcript} == {"Billing, please."}


async def test_requests_over_the_limit_are_rejected(emulator, billing_audio):
    azure = AzureRecognizer(make_account(emulator), max_sessions=2)
    clients = [MenuRecognitionClient(azure) for _ in range(2)]
    with pytest.raises(SpeechError, match="2 connections"):
        MenuRecognitionClient(azure)
    clients[0].recognition.close()
    assert (await recognize(azure, billing_audio)).text == "Billing, please."
    clients[1].recognition.close()
    await azure.aclose()


async def test_utterance_over_the_limit_fails(azure_recognizer):
    client = MenuRecognitionClient(azure_recognizer)
    client.feed(bytes(recognition.MAX_UTTERANCE_BYTES))
    client.recognition.feed(b"\0")
    assert not client.outcome.done()  # never from inside the call
    with pytest.raises(SpeechError, match="60 s"):
        await client.result()


@pytest.mark.parametrize(
    "phrases",
    [("a",) * (recognizer.MAX_PHRASES + 1), ("a" * (recognizer.MAX_PHRASE_LENGTH + 1),)],
    ids=["many", "long"],
)
async def test_too_many_or_too_long_phrases_are_rejected(azure_recognizer, phrases):
    with pytest.raises(RequestNotSupported, match="phrase"):
        azure_recognizer.open(RecognitionHints(phrases), print, print)


AT_ONCE = recognition.FINAL_TIMEOUT_SECONDS - 0.5  # nothing was waited for
IN_TIME = recognition.FINAL_TIMEOUT_SECONDS + SOON_SECONDS
FAULTS = {
    "refuse": (SpeechError, AT_ONCE),
    "401": (AuthenticationFailed, AT_ONCE),
    "429": (SpeechError, AT_ONCE),
    "500": (SpeechError, AT_ONCE),
    "silent": (SpeechError, IN_TIME),
    "stall": (SpeechError, IN_TIME),
    "drip": (SpeechError, IN_TIME),
    "garbage": (SpeechError, IN_TIME),
    "abrupt": (SpeechError, IN_TIME),
}


async def test_every_fault_raises_an_error_in_time(local_recognizer, local_synthesizer, billing_audio):
    """Run concurrently, each with its own service: one after another they take 20 s."""

    async def fail(fault, kind, seconds):
        async with AzureEmulator(local_recognizer, local_synthesizer, MENU.phrases, KEY) as emulator:
            emulator.orders.recognition = fault
            azure = AzureRecognizer(make_account(emulator))
            recognised = MenuRecognitionClient(azure)
            recognised.feed(PAUSE_AUDIO + billing_audio + PAUSE_AUDIO)
            recognised.recognition.finish()
            await asyncio.wait((recognised.outcome,), timeout=seconds)
            assert recognised.outcome.done(), fault
            error = recognised.outcome.exception()
            assert type(error) is kind, fault
            assert "billing" not in str(error).lower()
            assert KEY not in str(error)
            async with asyncio.timeout(sdk_resources.CLOSE_TIMEOUT_SECONDS + SOON_SECONDS):
                await azure.aclose()

    await asyncio.gather(*(fail(fault, *expected) for fault, expected in FAULTS.items()))


async def test_refused_connection_fails_at_once():
    azure = AzureRecognizer(AzureSettings(key=KEY, host=f"ws://127.0.0.1:{free_ports()[0]}"))
    with pytest.raises(SpeechError, match="could not be reached"):
        await MenuRecognitionClient(azure).result(AT_ONCE)
    await azure.aclose()


async def test_unresponsive_server_raises_an_error_in_time(billing_audio):
    async with silent_server() as host:
        azure = AzureRecognizer(AzureSettings(key=KEY, host=host))
        silent, speaking = MenuRecognitionClient(azure), MenuRecognitionClient(azure)
        speaking.feed(billing_audio)
        with pytest.raises(SpeechError, match="could not be reached within"):
            await speaking.result(recognition.CONNECT_TIMEOUT_SECONDS + 0.5)
        assert not silent.outcome.done()  # it has asked for nothing yet
        silent.recognition.close()
        await azure.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"), [("401", AuthenticationFailed), ("500", SpeechError), ("refuse", SpeechError)]
)
async def test_failed_start_raises_and_may_succeed_later(emulator, billing_audio, fault, kind):
    emulator.orders.recognition = fault
    azure = AzureRecognizer(make_account(emulator))
    with pytest.raises(SpeechError) as error:
        await azure.start()
    assert type(error.value) is kind
    emulator.orders.recognition = ""
    assert (await recognize(azure, billing_audio)).text == "Billing, please."
    await azure.aclose()


async def test_wrong_key_is_rejected_and_never_shown(emulator):
    wrong = make_account(emulator, "a wrong key")
    azure = AzureRecognizer(wrong)
    with pytest.raises(AuthenticationFailed) as error:
        await azure.start()
    await azure.aclose()
    assert "a wrong key" not in f"{error.value!r} {wrong!r} {wrong.__rich_repr__()}"


async def test_slow_teardown_does_not_delay_other_sessions(azure_recognizer, emulator, billing_audio):
    emulator.orders.recognition = "slow_close"
    slow = [MenuRecognitionClient(azure_recognizer) for _ in range(10)]
    for client in slow:
        client.feed(PAUSE_AUDIO + billing_audio)
    await asyncio.gather(*(client.any_partial.wait() for client in slow))
    emulator.orders.recognition = ""
    async with loop_not_blocked():
        for client in slow:
            client.recognition.close()
        for _ in range(5):
            async with asyncio.timeout(SOON_SECONDS):
                assert (await recognize(azure_recognizer, billing_audio)).text == "Billing, please."
    assert emulator.sockets >= 10  # those are still closing


async def test_aclose_fails_open_recognitions_and_abandons_hanging_threads(emulator, billing_audio, caplog):
    emulator.orders.recognition = "silent"
    azure = AzureRecognizer(make_account(emulator))
    closed, client = MenuRecognitionClient(azure), MenuRecognitionClient(azure)
    for entry in (closed, client):
        entry.feed(billing_audio)
    await wait_until_at_most(lambda: -emulator.sockets, -2)
    closed.recognition.close()
    async with asyncio.timeout(sdk_resources.CLOSE_TIMEOUT_SECONDS + SOON_SECONDS):
        await azure.aclose()
    with pytest.raises(SpeechError, match="closed"):
        await client.result()
    with pytest.raises(SpeechError, match="closed"):
        MenuRecognitionClient(azure)
    assert "abandoned" in caplog.text


async def test_many_sessions_leave_no_resources(emulator, billing_audio):
    before, connections = thread_count(), socket_count()
    azure = AzureRecognizer(make_account(emulator))
    await azure.start()
    for _ in range(6):
        await asyncio.gather(*(recognize(azure, billing_audio, live=True) for _ in range(5)))
    await azure.aclose()
    assert azure.sessions == azure.stuck == emulator.sockets == 0
    await wait_until_at_most(thread_count, before)
    await wait_until_at_most(socket_count, connections)
