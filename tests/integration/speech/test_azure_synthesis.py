import asyncio
from xml.etree import ElementTree

import pytest
import pytest_asyncio

from tests.emulators.azure import AzureEmulator
from tests.integration.speech.azure_hearing import KEY, account
from tests.integration.speech.machine import SOON, black_hole, not_held, settles, sockets, threads
from tests.ports import unused
from vocelio.engine.voice import Voice
from vocelio.gateway.config import Azure
from vocelio.gateway.speech.azure import sdk_resources
from vocelio.gateway.speech.azure import synthesis_stream as module
from vocelio.gateway.speech.azure.connection_pool import RENEW_SECONDS
from vocelio.gateway.speech.azure.synthesizer import MAX_TEXT, AzureSynthesizer
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError, Unsuitable

pytestmark = pytest.mark.asyncio(loop_scope="module")
GREETING = "Thank you for calling Example."
LONG = "This sentence is one of very many. " * 60
JENNY = Voice(tier="azure", name="en-US-JennyNeural")


@pytest_asyncio.fixture(loop_scope="module")
async def emulator(speech):
    async with AzureEmulator(*speech, key=KEY) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def azure(emulator):
    azure = AzureSynthesizer(account(emulator))
    await azure.start()
    yield azure
    await azure.aclose()


async def spoken(synthesizer, text, voice=JENNY):
    return b"".join([chunk async for chunk in synthesizer.speak(text, voice)])


async def test_what_is_spoken_arrives_byte_for_byte(azure, emulator):
    sound = await spoken(azure, GREETING)
    assert 1.5 < len(sound) / 8000 < 3
    assert [(one.text, one.voice, bytes(one.sound)) for one in emulator.spoken] == [(GREETING, JENNY.name, sound)]


async def test_sound_comes_as_it_is_made(azure, emulator):
    speech = azure.speak(LONG, JENNY)
    assert len(await anext(speech)) < 8000
    assert not emulator.spoken[0].text.endswith("never")
    chunks = [len(chunk) async for chunk in speech]
    assert len(chunks) > 50
    assert max(chunks) <= 8000


async def test_a_document_says_voice_language_speed_and_little_silence(azure, emulator):
    await spoken(azure, "Bonjour.", Voice(tier="azure", name="fr-FR-DeniseNeural", language="fr-FR", speed=1.25))
    root = ElementTree.fromstring(emulator.spoken[0].ssml)
    space = {"": "http://www.w3.org/2001/10/synthesis", "mstts": "https://www.w3.org/2001/mstts"}
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr-FR"
    assert root.find("voice", space).get("name") == "fr-FR-DeniseNeural"
    assert root.find("voice/prosody", space).get("rate") == "+25%"
    silences = {element.get("type"): element.get("value") for element in root.findall("voice/mstts:silence", space)}
    assert silences == {"Leading-exact": "20ms", "Tailing-exact": "150ms"}


@pytest.mark.parametrize(("speed", "rate"), [(1.0, "+0%"), (0.25, "-50%"), (4.0, "+100%")])
async def test_speed_stays_within_what_the_service_can(azure, emulator, speed, rate):
    await spoken(azure, "yes", Voice(tier="azure", name=JENNY.name, speed=speed))
    assert f'rate="{rate}"' in emulator.spoken[0].ssml


async def test_speed_changes_the_length(azure):
    normal = len(await spoken(azure, GREETING))
    assert len(await spoken(azure, GREETING, Voice(tier="azure", name=JENNY.name, speed=2.0))) < 0.7 * normal


async def test_markup_and_odd_characters_are_only_text(azure, emulator):
    assert await spoken(azure, "<speak> &amp; ]]> \0 \x07 \udcff ☎ 你好 done")
    assert emulator.spoken[0].text == "<speak> &amp; ]]>    ☎ 你好 done"


@pytest.mark.parametrize("text", ["", "  \n", "\0\x07"])
async def test_nothing_to_say_is_no_sound_and_no_request(azure, emulator, text):
    assert await spoken(azure, text) == b""
    assert emulator.spoken == []


@pytest.mark.parametrize("name", ["nope", "en-us", "", 'en-US"><x', "en-US-Jenny\0Neural2"])
async def test_an_unknown_voice_is_unsuitable(azure, name):
    with pytest.raises(Unsuitable, match="voice"):
        await spoken(azure, GREETING, Voice(tier="azure", name=name))
    assert await spoken(azure, GREETING)


async def test_a_text_too_long_is_unsuitable(azure):
    with pytest.raises(Unsuitable, match=str(MAX_TEXT)):
        await spoken(azure, "a" * (MAX_TEXT + 1))


async def test_texts_one_after_the_other_use_warm_lines(azure, emulator):
    for _ in range(10):
        await spoken(azure, "yes")
    await settles(lambda: -emulator.sockets, -5)
    assert emulator.opened == emulator.sockets == azure.sessions == 5  # four wait while one speaks


async def test_lines_that_the_service_hung_up_on_are_replaced(azure, emulator):
    await settles(lambda: azure.sessions - emulator.sockets, 0)  # one that still connects would not hear of it
    emulator.hang_up()
    await settles(lambda: azure.sessions, 0)
    await settles(lambda: -emulator.sockets, -4, seconds=RENEW_SECONDS + 1)
    assert await spoken(azure, "yes")


async def test_many_at_once(azure):
    together = await asyncio.gather(*(spoken(azure, f"number {n}") for n in range(20)))
    assert all(len(sound) > 2000 for sound in together)


async def test_too_many_are_refused(emulator):
    azure = AzureSynthesizer(account(emulator), limit=2, warm=0)
    speaking = [azure.speak(LONG, JENNY) for _ in range(2)]
    await asyncio.gather(*(anext(speech) for speech in speaking))
    with pytest.raises(SpeechError, match="2 connections"):
        await spoken(azure, "yes")
    await speaking[0].aclose()
    assert await spoken(azure, "yes")
    await speaking[1].aclose()
    await azure.aclose()


async def test_closing_the_iterator_stops_the_service(azure, emulator):
    speech = azure.speak(LONG, JENNY)
    await anext(speech)
    await speech.aclose()
    await settles(lambda: -emulator.cancelled, -1, seconds=SOON)
    assert await spoken(azure, GREETING)
    assert azure.stuck == 0


async def test_cancelling_before_the_first_sound_leaves_nothing(azure, emulator):
    for _ in range(5):
        task = asyncio.create_task(spoken(azure, LONG))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
    await settles(lambda: azure.sessions, 4)
    assert await spoken(azure, GREETING)


AT_ONCE = module.PATIENCE_SECONDS - 0.5  # nothing was waited for
IN_TIME = module.PATIENCE_SECONDS + SOON
FAULTS = {
    "refuse": (SpeechError, AT_ONCE),
    "401": (CredentialsRefused, AT_ONCE),
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
async def test_every_fault_is_an_error_in_time(speech, warm):
    """Side by side, each with a service of its own. On a warm line the fault comes when it is already connected.

    The SDK connects anew then, and is refused.
    """

    async def fail(fault, kind, seconds):
        async with AzureEmulator(*speech, key=KEY) as emulator:
            azure = AzureSynthesizer(account(emulator), warm=warm)
            if warm:
                await azure.start()
            emulator.orders.synthesis = fault
            with pytest.raises(SpeechError) as error:
                async with asyncio.timeout(seconds):
                    await spoken(azure, GREETING)
            assert type(error.value) is kind, fault
            assert "calling" not in str(error.value)
            assert KEY not in str(error.value)
            async with asyncio.timeout(sdk_resources.CLOSE_SECONDS + SOON):
                await azure.aclose()

    await asyncio.gather(*(fail(fault, *expected) for fault, expected in FAULTS.items()))


async def test_nobody_there_is_an_error_at_once():
    azure = AzureSynthesizer(Azure(key=KEY, host=f"ws://127.0.0.1:{unused()[0]}"))
    with pytest.raises(SpeechError, match="cannot be reached"):
        await asyncio.wait_for(spoken(azure, GREETING), AT_ONCE)
    await azure.aclose()


async def test_a_connection_that_is_never_answered_is_an_error_in_time():
    async with black_hole() as host:
        azure = AzureSynthesizer(Azure(key=KEY, host=host))
        with pytest.raises(SpeechError, match="behind"):
            await asyncio.wait_for(spoken(azure, GREETING), IN_TIME)
        async with asyncio.timeout(sdk_resources.CLOSE_SECONDS + SOON):
            await azure.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"), [("401", CredentialsRefused), ("500", SpeechError), ("refuse", SpeechError)]
)
async def test_a_start_that_is_refused_says_so_and_may_be_better_later(emulator, fault, kind):
    emulator.orders.synthesis = fault
    azure = AzureSynthesizer(account(emulator))
    with pytest.raises(SpeechError) as error:
        await azure.start()
    assert type(error.value) is kind
    emulator.orders.synthesis = ""
    assert await spoken(azure, GREETING)
    await azure.aclose()


async def test_a_stop_that_takes_long_delays_nobody(azure, emulator):
    emulator.orders.synthesis = "slow_close"
    slow = [azure.speak(LONG, JENNY) for _ in range(10)]
    await asyncio.gather(*(anext(speech) for speech in slow))
    emulator.orders.synthesis = ""
    async with not_held():
        await asyncio.gather(*(speech.aclose() for speech in slow))
        for _ in range(5):
            async with asyncio.timeout(SOON):
                assert await spoken(azure, "yes")


async def test_closing_fails_what_is_being_said(emulator):
    azure = AzureSynthesizer(account(emulator))
    speech = azure.speak(LONG, JENNY)
    await anext(speech)
    await azure.aclose()
    with pytest.raises(SpeechError, match="closed"):
        async for _ in speech:
            pass
    with pytest.raises(SpeechError, match="closed"):
        await spoken(azure, "yes")


async def test_nothing_is_left_of_many_texts(emulator):
    before, connections = threads(), sockets()
    azure = AzureSynthesizer(account(emulator))
    await azure.start()
    for _ in range(6):
        await asyncio.gather(*(spoken(azure, f"number {n}") for n in range(10)))
    await azure.aclose()
    assert azure.sessions == azure.stuck == emulator.sockets == 0
    await settles(threads, before)
    await settles(sockets, connections)
