import asyncio
import math
import subprocess
import sys
import threading
from contextlib import aclosing

import pytest

from tests.support.local_recognition import worker_pids
from tests.support.resource_checks import SOON_SECONDS
from vocelio.codecs import mulaw
from vocelio.codecs._audioop import audioop
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.speakable_text import MAX_SEGMENT_LENGTH, split_segments
from vocelio.gateway.speech.local.synthesizer import MAX_QUEUED_SEGMENTS, MAX_TEXT_LENGTH, LocalSynthesizer

GREETING = "Thank you for calling Example. Say sales, billing or support."
LONG = "This sentence is one of very many. " * 100


@pytest.fixture
async def synthesizer():
    threads = threading.active_count()
    async with aclosing(LocalSynthesizer()) as synthesizer:
        yield synthesizer
    assert worker_pids() == set()
    assert threading.active_count() == threads


async def synthesize(synthesizer: LocalSynthesizer, text: str, voice: Voice | None = None) -> bytes:
    return b"".join([chunk async for chunk in synthesizer.speak(text, voice or Voice())])


def active_level_dbfs(audio: bytes) -> float:
    """Return the dBFS of the frames with speech."""
    pcm = mulaw.decode(audio)
    levels = [audioop.rms(pcm[at : at + 320], 2) for at in range(0, len(pcm) - 320, 320)]
    squares = [level**2 for level in levels if level > 200]
    return 10 * math.log10(sum(squares) / len(squares) / 32768**2)


@pytest.mark.parametrize("name", ["en-us", "en-us+f3", "en", "de"])
async def test_prompt_has_the_level_and_duration_of_telephone_speech(synthesizer: LocalSynthesizer, name: str):
    audio = await synthesize(synthesizer, GREETING, Voice(name=name))
    assert 3 < len(audio) / mulaw.SAMPLE_RATE < 5
    assert -23 < active_level_dbfs(audio) < -17
    assert audioop.max(mulaw.decode(audio), 2) < 30000  # nothing is clipped


@pytest.mark.parametrize("text", ["Goodbye.", "What is it?", "Please hold. \n", "one, two, "])
async def test_prompt_ends_without_trailing_silence(synthesizer: LocalSynthesizer, text: str):
    pcm = mulaw.decode(await synthesize(synthesizer, text))
    loud = [at for at in range(0, len(pcm), 160) if audioop.max(pcm[at : at + 160], 2) > 300]
    assert loud[0] / 16000 < 0.06
    assert (len(pcm) - loud[-1]) / 16000 < 0.06


async def test_speed_changes_the_duration(synthesizer: LocalSynthesizer):
    normal = len(await synthesize(synthesizer, GREETING))
    assert len(await synthesize(synthesizer, GREETING, Voice(speed=2.0))) < 0.7 * normal
    assert len(await synthesize(synthesizer, GREETING, Voice(speed=0.6))) > 1.4 * normal


async def test_audio_is_streamed(synthesizer: LocalSynthesizer):
    chunks = [len(chunk) async for chunk in synthesizer.speak(GREETING, Voice())]
    assert len(chunks) > 10
    assert max(chunks) <= mulaw.SAMPLE_RATE // 4


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_empty_text_gives_no_audio(synthesizer: LocalSynthesizer, text: str):
    assert await synthesize(synthesizer, text) == b""


async def test_markup_and_special_characters_are_plain_text(synthesizer: LocalSynthesizer):
    assert await synthesize(synthesizer, "<speak> [[hello]] \0 \x07 &amp; \udcff ☎ 你好 done")


@pytest.mark.parametrize("name", ["nope", "en-us+nope", "", "../../x", "en-us+../x", "en us\0", "fil-ph", "zh-cn"])
async def test_unknown_voice_is_replaced(synthesizer: LocalSynthesizer, name: str):
    assert len(await synthesize(synthesizer, GREETING, Voice(name=name))) > 2 * mulaw.SAMPLE_RATE


async def test_language_alias_is_spoken_correctly(synthesizer: LocalSynthesizer):
    """A voice that does not know the characters says "Chinese letter" for each one."""
    chinese = "你好 请稍等"
    right = len(await synthesize(synthesizer, chinese, Voice(name="cmn")))
    assert len(await synthesize(synthesizer, chinese, Voice(name="en-us"))) > 1.5 * right
    assert len(await synthesize(synthesizer, chinese, Voice(name="zh-cn"))) == pytest.approx(right, rel=0.1)


async def test_unknown_voice_is_logged_once(synthesizer: LocalSynthesizer, caplog: pytest.LogCaptureFixture):
    for name in ("unheard-of", "unheard-of", "de-de", "zh-cn"):
        await synthesize(synthesizer, "yes", Voice(name=name))
    (record,) = caplog.records
    assert "'unheard-of'" in record.getMessage()


async def test_voice_of_another_tier_is_replaced_by_its_language(synthesizer: LocalSynthesizer):
    assert await synthesize(synthesizer, "Guten Tag", Voice(tier="azure", name="de-DE-KatjaNeural", language="de-DE"))


async def test_text_over_the_limit_is_rejected(synthesizer: LocalSynthesizer):
    with pytest.raises(RequestNotSupported, match=str(MAX_TEXT_LENGTH)):
        await synthesize(synthesizer, "a" * (MAX_TEXT_LENGTH + 1))


async def test_texts_over_the_limit_are_rejected(synthesizer: LocalSynthesizer):
    together = [synthesize(synthesizer, GREETING) for _ in range(2 * MAX_QUEUED_SEGMENTS)]
    outcomes = await asyncio.gather(*together, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {bytes, RequestNotSupported}
    assert await synthesize(synthesizer, "yes")


async def test_closing_the_iterator_cancels_rendering(synthesizer: LocalSynthesizer):
    speech = synthesizer.speak(LONG, Voice())
    assert await anext(speech)
    await speech.aclose()
    # The workers are free for the next one at once.
    assert await asyncio.wait_for(synthesize(synthesizer, "yes"), timeout=SOON_SECONDS)


async def test_slow_consumer_does_not_delay_others(synthesizer: LocalSynthesizer):
    slow = synthesizer.speak(LONG, Voice())
    await anext(slow)
    assert await asyncio.wait_for(synthesize(synthesizer, "yes"), timeout=SOON_SECONDS)
    await slow.aclose()


async def test_many_concurrent_texts(synthesizer: LocalSynthesizer):
    together = await asyncio.gather(*(synthesize(synthesizer, f"number {n}") for n in range(20)))
    assert all(len(audio) > 2000 for audio in together)


async def test_aclose_fails_open_syntheses():
    synthesizer = LocalSynthesizer()
    speech = synthesizer.speak(LONG, Voice())
    await anext(speech)
    await synthesizer.aclose()
    with pytest.raises(SpeechError, match="stopped"):
        async for _ in speech:
            pass
    with pytest.raises(SpeechError, match="closed"):
        await synthesize(synthesizer, "yes")


def test_long_text_is_split_after_sentences():
    pieces = list(split_segments(LONG))
    assert " ".join(pieces) == LONG.strip()
    assert all(len(piece) <= MAX_SEGMENT_LENGTH and piece.endswith("many.") for piece in pieces)


@pytest.mark.parametrize("text", ["word, " * 100 + "x" * 1000, "x" * MAX_SEGMENT_LENGTH, "x" * 1000 + " word"])
def test_long_sentence_and_long_word_are_split(text: str):
    assert all(0 < len(piece) <= MAX_SEGMENT_LENGTH for piece in split_segments(text))


def test_library_can_be_loaded_from_two_threads_at_once():
    """It used to crash the process: then the script's children are killed by a signal."""
    script = (
        "import threading\n"
        "from vocelio.gateway.speech.local import espeak\n"
        "gate = threading.Barrier(8)\n"
        "def load():\n"
        "    gate.wait()\n"
        "    espeak.load().render('Hello.', 'en-us', 175, False, lambda pcm: True)\n"
        "threads = [threading.Thread(target=load) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=30)  # noqa: S603 (our own)
