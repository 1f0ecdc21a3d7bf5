import asyncio

import pytest
import pytest_asyncio

from tests.emulators.azure import AzureEmulator
from tests.integration.speech.azure_hearing import DIGITS, KEY, MENU, PAUSE, Ear, account, hear, say
from tests.integration.speech.machine import SOON, black_hole, not_held, settles, sockets, threads
from tests.ports import unused
from vocelio.engine.nlu import matching
from vocelio.gateway.config import Azure
from vocelio.gateway.speech.azure import recognition, recognizer, sdk_resources
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.interfaces import CredentialsRefused, Expectation, Heard, SpeechError, Unsuitable

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTHING = Heard("", 0.0, final=True)


@pytest.fixture
def ear(speech):
    return speech[0]


@pytest.fixture(scope="module")
def mouth(speech):
    return speech[1]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def billing(mouth):
    return await say(mouth, "billing please")


@pytest_asyncio.fixture(loop_scope="module")
async def emulator(ear, mouth):
    async with AzureEmulator(ear, mouth, MENU.phrases, KEY) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def azure(emulator):
    azure = AzureRecognizer(account(emulator))
    await azure.start()
    yield azure
    await azure.aclose()


@pytest.mark.parametrize(
    ("said", "written", "meant"),
    [("billing", "Billing.", "billing"), ("technical help please", "Technical help, please.", "support")],
)
async def test_what_is_said_is_heard_and_understood(azure, emulator, mouth, said, written, meant):
    heard = await hear(azure, await say(mouth, said))
    assert heard.text == written
    assert 0 < heard.confidence <= 1
    assert emulator.heard == [said]
    assert matching.choice(heard.text, {"billing": ["billing"], "support": ["technical help"]}) == meant


async def test_digits_are_heard_as_figures(azure, ear, mouth):
    async with AzureEmulator(ear, mouth, DIGITS.phrases[:10], KEY) as emulator:
        azure = AzureRecognizer(account(emulator))
        heard = await hear(azure, await say(mouth, "four one three", "en-us+f2"), DIGITS)
        await azure.aclose()
    assert emulator.contexts[0].get("dgi") is None  # no list of phrases
    assert matching.digits(heard.text) == heard.text.rstrip(".")
    assert len(heard.text) == len("413.")


async def test_the_sound_arrives_as_it_was_fed(azure, emulator, billing):
    await hear(azure, billing)
    await settles(lambda: -len(emulator.sounds), -1)
    assert emulator.sounds == [PAUSE + billing + PAUSE]


async def test_partials_come_before_the_end(azure, billing):
    ear = Ear(azure)
    ear.feed(PAUSE + billing)
    async with asyncio.timeout(3 * SOON):
        await ear.any_partial.wait()
    assert not ear.outcome.done()
    ear.recognition.finish()
    final = await ear.result()
    assert ear.partials[0].text == "billing"
    assert ear.partials[0].confidence < final.confidence


async def test_the_service_may_find_the_end_by_itself(azure, billing):
    ear = Ear(azure)
    ear.feed(PAUSE + billing + PAUSE * 3)
    assert (await ear.result()).text == "Billing, please."
    ear.recognition.finish()  # comes too late, and nothing comes of it
    ear.feed(PAUSE)
    assert azure.sessions == 0


async def test_what_is_not_understood_before_the_answer_does_not_end_it(azure, mouth, billing):
    ear = Ear(azure)
    ear.feed(PAUSE + await say(mouth, "turn the music down") + PAUSE * 3 + billing + PAUSE * 3)
    assert (await ear.result()).text.startswith("Billing")


@pytest.mark.parametrize(("silence", "milliseconds"), [(0.6, 600), (0.001, 100), (60.0, 5000)])
async def test_the_flow_says_which_silence_ends_an_utterance(azure, emulator, billing, silence, milliseconds):
    await hear(azure, billing, Expectation(MENU.phrases, silence=silence))
    detection = emulator.contexts[-1]["phraseDetection"]
    assert detection["CONVERSATION"]["segmentation"]["segmentationSilenceTimeoutMs"] == milliseconds
    assert detection["enrichment"]["profanity"] == "raw"


async def test_the_flow_says_language_and_phrases(azure, emulator, billing):
    await hear(azure, billing, Expectation(("à bientôt", "billing"), language="fr-FR"))
    context = emulator.contexts[-1]
    assert context["phraseDetection"]["language"] == "fr-FR"
    assert [item["Text"] for item in context["dgi"]["Groups"][0]["Items"]] == ["à bientôt", "billing"]


async def test_what_is_not_understood_is_an_empty_final(azure, mouth):
    assert await hear(azure, await say(mouth, "turn the music down")) == NOTHING


@pytest.mark.parametrize("sound", [b"", PAUSE])
async def test_silence_is_an_empty_final(azure, sound):
    ear = Ear(azure)
    ear.feed(sound)
    ear.recognition.finish()
    ear.recognition.finish()
    assert await ear.result() == NOTHING


async def test_nothing_is_called_back_after_closing(azure, emulator, billing):
    ears = [Ear(azure) for _ in range(4)]
    ears[0].recognition.close()  # before the SDK has been called
    await settles(lambda: -emulator.sockets, -3)
    for ear in ears:
        ear.feed(PAUSE + billing)
    await ears[2].any_partial.wait()
    ears[1].recognition.finish()
    for ear in ears:
        ear.recognition.close()
        ear.recognition.close()
        ear.feed(PAUSE)
        ear.recognition.finish()
        ear.partials.clear()
    await settles(lambda: emulator.sockets, 0)
    assert not any(ear.outcome.done() or ear.partials for ear in ears)
    assert azure.sessions == azure.stuck == 0


async def test_the_service_may_hang_up_before_anybody_speaks(azure, emulator, billing):
    ear = Ear(azure)
    await settles(lambda: -emulator.opened, -2)  # one was the start's
    emulator.hang_up()
    await settles(lambda: -emulator.opened, -3)  # the SDK has connected anew
    ear.feed(PAUSE + billing + PAUSE)
    ear.recognition.finish()
    assert (await ear.result()).text == "Billing, please."


async def test_many_at_once(azure, billing):
    heard = await asyncio.gather(*(hear(azure, billing, live=True) for _ in range(8)))
    assert {one.text for one in heard} == {"Billing, please."}


async def test_too_many_are_refused(emulator, billing):
    azure = AzureRecognizer(account(emulator), limit=2)
    ears = [Ear(azure) for _ in range(2)]
    with pytest.raises(SpeechError, match="2 connections"):
        Ear(azure)
    ears[0].recognition.close()
    assert (await hear(azure, billing)).text == "Billing, please."
    ears[1].recognition.close()
    await azure.aclose()


async def test_an_endless_utterance_fails(azure):
    ear = Ear(azure)
    ear.feed(bytes(recognition.MAX_UTTERANCE))
    ear.recognition.feed(b"\0")
    assert not ear.outcome.done()  # never from inside the call
    with pytest.raises(SpeechError, match="60 s"):
        await ear.result()


@pytest.mark.parametrize(
    "phrases", [("a",) * (recognizer.MAX_PHRASES + 1), ("a" * (recognizer.MAX_PHRASE + 1),)], ids=["many", "long"]
)
async def test_expecting_too_much_fails(azure, phrases):
    with pytest.raises(Unsuitable, match="phrase"):
        azure.open(Expectation(phrases), print, print)


AT_ONCE = recognition.FINAL_SECONDS - 0.5  # nothing was waited for
IN_TIME = recognition.FINAL_SECONDS + SOON
FAULTS = {
    "refuse": (SpeechError, AT_ONCE),
    "401": (CredentialsRefused, AT_ONCE),
    "429": (SpeechError, AT_ONCE),
    "500": (SpeechError, AT_ONCE),
    "silent": (SpeechError, IN_TIME),
    "stall": (SpeechError, IN_TIME),
    "drip": (SpeechError, IN_TIME),
    "garbage": (SpeechError, IN_TIME),
    "abrupt": (SpeechError, IN_TIME),
}


async def test_every_fault_is_an_error_in_time(ear, mouth, billing):
    """Side by side, each with a service of its own: one after the other they take 20 s."""

    async def fail(fault, kind, seconds):
        async with AzureEmulator(ear, mouth, MENU.phrases, KEY) as emulator:
            emulator.orders.recognition = fault
            azure = AzureRecognizer(account(emulator))
            recognised = Ear(azure)
            recognised.feed(PAUSE + billing + PAUSE)
            recognised.recognition.finish()
            await asyncio.wait((recognised.outcome,), timeout=seconds)
            assert recognised.outcome.done(), fault
            error = recognised.outcome.exception()
            assert type(error) is kind, fault
            assert "billing" not in str(error).lower()
            assert KEY not in str(error)
            async with asyncio.timeout(sdk_resources.CLOSE_SECONDS + SOON):
                await azure.aclose()

    await asyncio.gather(*(fail(fault, *expected) for fault, expected in FAULTS.items()))


async def test_nobody_there_is_an_error_at_once():
    azure = AzureRecognizer(Azure(key=KEY, host=f"ws://127.0.0.1:{unused()[0]}"))
    with pytest.raises(SpeechError, match="cannot be reached"):
        await Ear(azure).result(AT_ONCE)
    await azure.aclose()


async def test_a_connection_that_is_never_answered_is_an_error_in_time(billing):
    async with black_hole() as host:
        azure = AzureRecognizer(Azure(key=KEY, host=host))
        silent, speaking = Ear(azure), Ear(azure)
        speaking.feed(billing)
        with pytest.raises(SpeechError, match="cannot be reached in time"):
            await speaking.result(recognition.CONNECT_SECONDS + 0.5)
        assert not silent.outcome.done()  # it has asked for nothing yet
        silent.recognition.close()
        await azure.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"), [("401", CredentialsRefused), ("500", SpeechError), ("refuse", SpeechError)]
)
async def test_a_start_that_is_refused_says_so_and_may_be_better_later(emulator, billing, fault, kind):
    emulator.orders.recognition = fault
    azure = AzureRecognizer(account(emulator))
    with pytest.raises(SpeechError) as error:
        await azure.start()
    assert type(error.value) is kind
    emulator.orders.recognition = ""
    assert (await hear(azure, billing)).text == "Billing, please."
    await azure.aclose()


async def test_a_wrong_key_is_refused_and_shown_nowhere(emulator):
    wrong = account(emulator, "a wrong key")
    azure = AzureRecognizer(wrong)
    with pytest.raises(CredentialsRefused) as error:
        await azure.start()
    await azure.aclose()
    assert "a wrong key" not in f"{error.value!r} {wrong!r} {wrong.__rich_repr__()}"


async def test_the_end_of_a_session_takes_long_and_delays_nobody(azure, emulator, billing):
    emulator.orders.recognition = "slow_close"
    slow = [Ear(azure) for _ in range(10)]
    for ear in slow:
        ear.feed(PAUSE + billing)
    await asyncio.gather(*(ear.any_partial.wait() for ear in slow))
    emulator.orders.recognition = ""
    async with not_held():
        for ear in slow:
            ear.recognition.close()
        for _ in range(5):
            async with asyncio.timeout(SOON):
                assert (await hear(azure, billing)).text == "Billing, please."
    assert emulator.sockets >= 10  # those are still closing


async def test_closing_fails_what_is_open_and_leaves_behind_what_hangs(emulator, billing, caplog):
    emulator.orders.recognition = "silent"
    azure = AzureRecognizer(account(emulator))
    closed, ear = Ear(azure), Ear(azure)
    for one in (closed, ear):
        one.feed(billing)
    await settles(lambda: -emulator.sockets, -2)
    closed.recognition.close()
    async with asyncio.timeout(sdk_resources.CLOSE_SECONDS + SOON):
        await azure.aclose()
    with pytest.raises(SpeechError, match="closed"):
        await ear.result()
    with pytest.raises(SpeechError, match="closed"):
        Ear(azure)
    assert "left behind" in caplog.text


async def test_nothing_is_left_of_many_sessions(emulator, billing):
    before, connections = threads(), sockets()
    azure = AzureRecognizer(account(emulator))
    await azure.start()
    for _ in range(6):
        await asyncio.gather(*(hear(azure, billing, live=True) for _ in range(5)))
    await azure.aclose()
    assert azure.sessions == azure.stuck == emulator.sockets == 0
    await settles(threads, before)
    await settles(sockets, connections)
