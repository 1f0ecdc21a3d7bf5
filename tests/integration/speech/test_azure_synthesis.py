import asyncio
from xml.etree import ElementTree

import pytest
import pytest_asyncio

from tests.emulators.azure import AzureEmulator
from tests.support.azure_recognition import KEY, make_account
from tests.support.free_ports import free_ports
from tests.support.resource_checks import (
    SOON_SECONDS,
    loop_not_blocked,
    silent_server,
    socket_count,
    thread_count,
    wait_until_at_most,
)
from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure import sdk_resources
from vocelio.gateway.speech.azure import synthesis_stream as module
from vocelio.gateway.speech.azure.connection_pool import RECONNECT_DELAY_SECONDS
from vocelio.gateway.speech.azure.synthesizer import MAX_TEXT_LENGTH, AzureSynthesizer
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError

pytestmark = pytest.mark.asyncio(loop_scope="module")
GREETING = "Thank you for calling Example."
LONG_TEXT = "This sentence is one of very many. " * 60
JENNY_VOICE = Voice(tier="azure", name="en-US-JennyNeural")


@pytest_asyncio.fixture(loop_scope="module")
async def emulator(offline_speech):
    async with AzureEmulator(*offline_speech, key=KEY) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def azure_synthesizer(emulator):
    azure = AzureSynthesizer(make_account(emulator))
    await azure.start()
    yield azure
    await azure.aclose()


async def synthesize(synthesizer, text, voice=JENNY_VOICE):
    return b"".join([chunk async for chunk in synthesizer.speak(text, voice)])


async def test_audio_is_received_byte_for_byte(azure_synthesizer, emulator):
    sound = await synthesize(azure_synthesizer, GREETING)
    assert 1.5 < len(sound) / 8000 < 3
    assert [(item.text, item.voice, bytes(item.sound)) for item in emulator.spoken] == [
        (GREETING, JENNY_VOICE.name, sound)
    ]


async def test_audio_is_streamed(azure_synthesizer, emulator):
    speech = azure_synthesizer.speak(LONG_TEXT, JENNY_VOICE)
    assert len(await anext(speech)) < 8000
    assert not emulator.spoken[0].text.endswith("never")
    chunks = [len(chunk) async for chunk in speech]
    assert len(chunks) > 50
    assert max(chunks) <= 8000


async def test_ssml_has_voice_language_speed_and_short_silences(azure_synthesizer, emulator):
    await synthesize(
        azure_synthesizer, "Bonjour.", Voice(tier="azure", name="fr-FR-DeniseNeural", language="fr-FR", speed=1.25)
    )
    root = ElementTree.fromstring(emulator.spoken[0].ssml)
    space = {"": "http://www.w3.org/2001/10/synthesis", "mstts": "https://www.w3.org/2001/mstts"}
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr-FR"
    assert root.find("voice", space).get("name") == "fr-FR-DeniseNeural"
    assert root.find("voice/prosody", space).get("rate") == "+25%"
    silences = {element.get("type"): element.get("value") for element in root.findall("voice/mstts:silence", space)}
    assert silences == {"Leading-exact": "20ms", "Tailing-exact": "150ms"}


@pytest.mark.parametrize(("speed", "rate"), [(1.0, "+0%"), (0.25, "-50%"), (4.0, "+100%")])
async def test_speed_is_limited_to_the_services_range(azure_synthesizer, emulator, speed, rate):
    await synthesize(azure_synthesizer, "yes", Voice(tier="azure", name=JENNY_VOICE.name, speed=speed))
    assert f'rate="{rate}"' in emulator.spoken[0].ssml


async def test_speed_changes_the_duration(azure_synthesizer):
    normal = len(await synthesize(azure_synthesizer, GREETING))
    assert (
        len(await synthesize(azure_synthesizer, GREETING, Voice(tier="azure", name=JENNY_VOICE.name, speed=2.0)))
        < 0.7 * normal
    )


async def test_markup_and_special_characters_are_plain_text(azure_synthesizer, emulator):
    assert await synthesize(azure_synthesizer, "<speak> &amp; ]]> \0 \x07 \udcff ☎ 你好 done")
    assert emulator.spoken[0].text == "<speak> &amp; ]]>    ☎ 你好 done"


@pytest.mark.parametrize("text", ["", "  \n", "\0\x07"])
async def test_empty_text_sends_no_request(azure_synthesizer, emulator, text):
    assert await synthesize(azure_synthesizer, text) == b""
    assert emulator.spoken == []


@pytest.mark.parametrize("name", ["nope", "en-us", "", 'en-US"><x', "en-US-Jenny\0Neural2"])
async def test_unknown_voice_is_not_supported(azure_synthesizer, name):
    with pytest.raises(RequestNotSupported, match="voice"):
        await synthesize(azure_synthesizer, GREETING, Voice(tier="azure", name=name))
    assert await synthesize(azure_synthesizer, GREETING)


async def test_text_over_the_limit_is_not_supported(azure_synthesizer):
    with pytest.raises(RequestNotSupported, match=str(MAX_TEXT_LENGTH)):
        await synthesize(azure_synthesizer, "a" * (MAX_TEXT_LENGTH + 1))


async def test_consecutive_texts_reuse_connections(azure_synthesizer, emulator):
    for _ in range(10):
        await synthesize(azure_synthesizer, "yes")
    await wait_until_at_most(lambda: -emulator.sockets, -5)
    assert emulator.opened == emulator.sockets == azure_synthesizer.sessions == 5  # four wait while one speaks


async def test_connections_closed_by_the_service_are_replaced(azure_synthesizer, emulator):
    await wait_until_at_most(
        lambda: azure_synthesizer.sessions - emulator.sockets, 0
    )  # one that still connects would not hear of it
    emulator.close_sockets()
    await wait_until_at_most(lambda: azure_synthesizer.sessions, 0)
    await wait_until_at_most(lambda: -emulator.sockets, -4, seconds=RECONNECT_DELAY_SECONDS + 1)
    assert await synthesize(azure_synthesizer, "yes")


async def test_many_concurrent_requests(azure_synthesizer):
    together = await asyncio.gather(*(synthesize(azure_synthesizer, f"number {n}") for n in range(20)))
    assert all(len(sound) > 2000 for sound in together)


async def test_requests_over_the_limit_are_rejected(emulator):
    azure = AzureSynthesizer(make_account(emulator), max_connections=2, min_idle=0)
    speaking = [azure.speak(LONG_TEXT, JENNY_VOICE) for _ in range(2)]
    await asyncio.gather(*(anext(speech) for speech in speaking))
    with pytest.raises(SpeechError, match="2 connections"):
        await synthesize(azure, "yes")
    await speaking[0].aclose()
    assert await synthesize(azure, "yes")
    await speaking[1].aclose()
    await azure.aclose()


async def test_closing_the_iterator_cancels_the_request(azure_synthesizer, emulator):
    speech = azure_synthesizer.speak(LONG_TEXT, JENNY_VOICE)
    await anext(speech)
    await speech.aclose()
    await wait_until_at_most(lambda: -emulator.cancelled, -1, seconds=SOON_SECONDS)
    assert await synthesize(azure_synthesizer, GREETING)
    assert azure_synthesizer.stuck == 0


async def test_canceling_before_the_first_audio_leaves_no_resources(azure_synthesizer, emulator):
    for _ in range(5):
        task = asyncio.create_task(synthesize(azure_synthesizer, LONG_TEXT))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
    await wait_until_at_most(lambda: azure_synthesizer.sessions, 4)
    assert await synthesize(azure_synthesizer, GREETING)


AT_ONCE = module.MAX_LAG_SECONDS - 0.5  # nothing was waited for
IN_TIME = module.MAX_LAG_SECONDS + SOON_SECONDS
FAULTS = {
    "refuse": (SpeechError, AT_ONCE),
    "401": (AuthenticationFailed, AT_ONCE),
    "429": (SpeechError, AT_ONCE),
    "500": (SpeechError, AT_ONCE),
    "silent": (SpeechError, IN_TIME),
    "stall": (SpeechError, IN_TIME),
    "drip": (SpeechError, IN_TIME),
    "garbage": (SpeechError, IN_TIME),
    "abrupt": (SpeechError, AT_ONCE),
    "slow_close": (SpeechError, IN_TIME + 1),  # with a second of sound that had come
}


@pytest.mark.parametrize("warm", [0, 2], ids=["cold", "warm"])
async def test_every_fault_raises_an_error_in_time(offline_speech, warm):
    """Run concurrently, each with its own service. On an idle connection the fault comes after connecting.

    The SDK connects anew then, and is refused.
    """

    async def fail(fault, kind, seconds):
        async with AzureEmulator(*offline_speech, key=KEY) as emulator:
            azure = AzureSynthesizer(make_account(emulator), min_idle=warm)
            if warm:
                await azure.start()
            emulator.orders.synthesis = fault
            with pytest.raises(SpeechError) as error:
                async with asyncio.timeout(seconds):
                    await synthesize(azure, GREETING)
            assert type(error.value) is kind, fault
            assert "calling" not in str(error.value)
            assert KEY not in str(error.value)
            async with asyncio.timeout(sdk_resources.CLOSE_TIMEOUT_SECONDS + SOON_SECONDS):
                await azure.aclose()

    await asyncio.gather(*(fail(fault, *expected) for fault, expected in FAULTS.items()))


async def test_refused_connection_fails_at_once():
    azure = AzureSynthesizer(AzureSettings(key=KEY, host=f"ws://127.0.0.1:{free_ports()[0]}"))
    with pytest.raises(SpeechError, match="could not be reached"):
        await asyncio.wait_for(synthesize(azure, GREETING), AT_ONCE)
    await azure.aclose()


async def test_unresponsive_server_raises_an_error_in_time():
    async with silent_server() as host:
        azure = AzureSynthesizer(AzureSettings(key=KEY, host=host))
        with pytest.raises(SpeechError, match="late"):
            await asyncio.wait_for(synthesize(azure, GREETING), IN_TIME)
        async with asyncio.timeout(sdk_resources.CLOSE_TIMEOUT_SECONDS + SOON_SECONDS):
            await azure.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"), [("401", AuthenticationFailed), ("500", SpeechError), ("refuse", SpeechError)]
)
async def test_failed_start_raises_and_may_succeed_later(emulator, fault, kind):
    emulator.orders.synthesis = fault
    azure = AzureSynthesizer(make_account(emulator))
    with pytest.raises(SpeechError) as error:
        await azure.start()
    assert type(error.value) is kind
    emulator.orders.synthesis = ""
    assert await synthesize(azure, GREETING)
    await azure.aclose()


async def test_slow_stop_does_not_delay_other_texts(azure_synthesizer, emulator):
    emulator.orders.synthesis = "slow_close"
    slow = [azure_synthesizer.speak(LONG_TEXT, JENNY_VOICE) for _ in range(10)]
    await asyncio.gather(*(anext(speech) for speech in slow))
    emulator.orders.synthesis = ""
    async with loop_not_blocked():
        await asyncio.gather(*(speech.aclose() for speech in slow))
        for _ in range(5):
            async with asyncio.timeout(SOON_SECONDS):
                assert await synthesize(azure_synthesizer, "yes")


async def test_aclose_fails_open_syntheses(emulator):
    azure = AzureSynthesizer(make_account(emulator))
    speech = azure.speak(LONG_TEXT, JENNY_VOICE)
    await anext(speech)
    await azure.aclose()
    with pytest.raises(SpeechError, match="closed"):
        async for _ in speech:
            pass
    with pytest.raises(SpeechError, match="closed"):
        await synthesize(azure, "yes")


async def test_many_texts_leave_no_resources(emulator):
    before, connections = thread_count(), socket_count()
    azure = AzureSynthesizer(make_account(emulator))
    await azure.start()
    for _ in range(6):
        await asyncio.gather(*(synthesize(azure, f"number {n}") for n in range(10)))
    await azure.aclose()
    assert azure.sessions == azure.stuck == emulator.sockets == 0
    await wait_until_at_most(thread_count, before)
    await wait_until_at_most(socket_count, connections)
