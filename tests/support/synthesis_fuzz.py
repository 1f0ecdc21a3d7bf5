"""Fuzz local synthesis: texts of all scripts, controls and lengths in all voices, `make fuzz-synthesis`.

Checks that a text which crashes espeak-ng ends a worker only, and that every other text is spoken. A text may be
refused after two crashes. Half of the texts are passed on without cleaning, to find more that crash.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import espeakng_loader

from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

CONCURRENCY = 6
CANARY_INTERVAL = 20
"""Texts between two harmless ones, of another tenant, which must be spoken whatever the others do."""

SPEECH_SECONDS = 60.0
"""For a text: workers may hang twice for three seconds, and a replacement may take five."""

SPEEDS = (0.5, 1.0, 2.5, 2.5, 2.5)  # mostly fast ones, which take less time

BLOCKS = (
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x8FF), (0x900, 0x97F), (0x980, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x10A0, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x167F), (0x1680, 0x1CFF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x31FF), (0x3400, 0x9FFF), (0xA000, 0xA4CF),
    (0xA4D0, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFFFF), (0x10000, 0x1FFFF), (0x0, 0x10FFFF),
    (0x0, 0x1F), (0x7F, 0x9F), (0x30, 0x39), (0x61, 0x7A), (0xD800, 0xDFFF),
)  # fmt: skip
PIECES = (
    "s'", "'", "'s ", "-", ".", "...", "!?", "1", "1,000,000.", "0x1F", "$", "%", "\u00b0", "www.", "@", "://", "I'm ",
    "Dr. ", "10:30", "+1 (310) 555-0142", "<speak>", "[[", "]]", "&amp;", "\u200d", "\u0301", "\u0645\u0651", "\u0e33",
    "\uac00\u11a8", "III", "XVIII", "AbC", "ABC", "\u00df", "n't", "_", "#", "*", "^", "~", "\u20ac5", "1/2", "1e9",
    "A.M.", "e.g.", "thequickbrown",
)  # fmt: skip


@dataclass
class Figures:
    """Outcomes of the texts so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    deadly: list[tuple[str, str]] = field(default_factory=list)  # voice and text
    lost: list[tuple[str, str, str]] = field(default_factory=list)  # voice, text and error
    slowest_canary_seconds: float = 0.0


def voices() -> list[str]:
    """Return the names of all of espeak-ng's voices, and some that do not exist or have a variant."""
    data = Path(espeakng_loader.get_data_path())
    names = sorted(path.name.lower() for path in (data / "lang").rglob("*") if path.is_file())
    return [*names, "en-us", "en-us+f3", "de+whisper", "fr+croak", "xx-yy", "zh-cn", "no"]


def random_text(random: Random) -> str:
    """Return a text of one kind: repeated, of one script, of pieces, or of everything."""
    length = random.randint(1, random.choices((25, 250, 4000), (94, 5, 1))[0])
    kind = random.randrange(5)
    if kind == 0:
        unit = random.choice(PIECES) if random.random() < 0.5 else _characters(random, random.randint(1, 3))
        return (unit * length)[:4000]
    if kind == 1:
        return _characters(random, length)
    if kind == 2:
        return "".join(random.choice(PIECES) for _ in range(length))[:4000]
    if kind == 3:
        words = [_characters(random, random.randint(1, 12)) for _ in range(1 + length // 8)]
        return " ".join(words)[:4000]
    return "".join(random.choice((random.choice(PIECES), _characters(random, 1))) for _ in range(length))[:4000]


def _characters(random: Random, count: int) -> str:
    low, high = random.choice(BLOCKS)
    return "".join(chr(random.randint(low, high)) for _ in range(count))


async def fuzz(count: int, seed: int, report: Callable[[int, Figures], None] = lambda _done, _figures: None) -> Figures:
    """Speak ``count`` texts; return what became of them. ``report`` is called after each."""
    random, figures, names = Random(seed), Figures(), voices()  # noqa: S311 (no secret)
    numbers = iter(range(1, count + 1))
    async with aclosing(LocalSynthesizer()) as cleaning, aclosing(LocalSynthesizer(clean=_only_encodable)) as raw:

        async def speak_some() -> None:
            for number in numbers:
                synthesizer = random.choice((cleaning, raw))
                voice = Voice(name=random.choice(names), speed=random.choice(SPEEDS))
                await _speak(synthesizer, voice, random_text(random), f"t{number}", figures)
                if number % CANARY_INTERVAL == 0:
                    await _speak_canary(synthesizer, number, figures)
                report(number, figures)

        await asyncio.gather(*(speak_some() for _ in range(CONCURRENCY)))
    return figures


async def _speak(synthesizer: LocalSynthesizer, voice: Voice, text: str, tenant: str, figures: Figures) -> None:
    try:
        async with asyncio.timeout(SPEECH_SECONDS):
            size = sum([len(chunk) async for chunk in synthesizer.speak(text, voice, tenant)])
    except RequestNotSupported as error:
        if "has died on this" not in str(error):
            figures.lost.append((voice.name, text, str(error)))
        figures.outcomes["refused"] += 1
        figures.deadly.append((voice.name, text))
    except (SpeechError, TimeoutError) as error:
        figures.lost.append((voice.name, text, repr(error)))
    else:
        figures.outcomes["spoken" if size else "silent"] += 1


async def _speak_canary(synthesizer: LocalSynthesizer, number: int, figures: Figures) -> None:
    started_at = time.monotonic()
    try:
        size = sum([len(chunk) async for chunk in synthesizer.speak(f"Number {number}.", Voice(), "canary")])
    except SpeechError as error:
        figures.lost.append(("en-us", f"Number {number}.", repr(error)))
        return
    figures.slowest_canary_seconds = max(figures.slowest_canary_seconds, time.monotonic() - started_at)
    figures.outcomes["canaries" if size else "silent canaries"] += 1


def _only_encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _lines(figures: Figures) -> Iterator[str]:
    yield ", ".join(f"{count} {outcome}" for outcome, count in sorted(figures.outcomes.items()))
    yield f"slowest canary {figures.slowest_canary_seconds:.2f} s; {len(figures.lost)} lost"
    yield from (f"deadly: {voice} {text[:200]!r}" for voice, text in figures.deadly)
    yield from (f"LOST: {voice} {text[:200]!r}: {error}" for voice, text, error in figures.lost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    started_at = time.monotonic()

    def show(done: int, figures: Figures) -> None:
        if done % 100 == 0 or done == options.count:
            rate = done / (time.monotonic() - started_at)
            text = f"{done:,} of {options.count:,} texts, {rate:.0f}/s, {figures.outcomes['refused']} deadly"
            sys.stderr.write(f"\r{text}, {len(figures.lost)} lost " + ("\n" if done == options.count else ""))
            sys.stderr.flush()

    figures = asyncio.run(fuzz(options.count, options.seed, show))
    sys.stdout.write("\n".join(_lines(figures)) + "\n")
    sys.exit(bool(figures.lost))


if __name__ == "__main__":
    main()
