"""Soak test of the speech SDKs, in batches: python -m tests.support.speech_soak.

Threads, sockets and memory of this process are counted after each batch; the services are emulated in it, too. What the
first batch leaves (SDKs loaded, lines that wait, allocators' own) is the base; the rest must stay flat.
"""

import argparse
import asyncio
import gc
import os
import sys
import threading
from contextlib import aclosing
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.emulators.azure import AzureEmulator
from tests.emulators.elevenlabs import VOICE, ElevenLabsEmulator
from vocelio.codecs.mulaw import SILENCE_BYTE
from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings, ElevenLabsSettings
from vocelio.gateway.speech.azure.recognizer import AzureRecognizer
from vocelio.gateway.speech.azure.synthesizer import AzureSynthesizer
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.interfaces import RecognitionHints
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

AT_ONCE = 10
BATCHES = 10
PACE = 0.005  # seconds a frame of 20 ms: the emulator's one ear hears callers at four times their speed
KEY = "a-key"
MENU = RecognitionHints(("sales please", "my invoice"))
VOICES = {"azure": Voice("azure", "en-US-AvaNeural"), "elevenlabs": Voice("elevenlabs", VOICE)}
# What the last batch may have more than the first. Threads of ours are kept, as many as were once needed at a time.
GROWTH = {"SDK threads": 8, "our threads": AT_ONCE, "sockets": 8, "MB": 30}
STEADY = 2.0  # seconds in which nothing more has ended, when all has that will


async def soak(recognitions, syntheses, batches=BATCHES, concurrency=AT_ONCE, advance=lambda: None):
    """The counts after each batch, for each provider: so many sessions of each kind altogether."""
    jobs = recognitions, syntheses, batches, concurrency, advance
    ear, mouth = LocalRecognizer(workers=1), LocalSynthesizer()
    await ear.start()
    async with aclosing(mouth), aclosing(ear):
        async with aclosing(mouth.speak("sales please", Voice(name="en-us+f3"))) as made:
            said = b"".join([chunk async for chunk in made]) + bytes([SILENCE_BYTE]) * 1600
        yield "azure", _resource_counts(_azure_service(ear, mouth), "azure", said, *jobs)
        yield "elevenlabs", _resource_counts(_elevenlabs_service(ear, mouth), "elevenlabs", said, *jobs)


def _azure_service(ear, mouth):
    emulator = AzureEmulator(ear, mouth, key=KEY)
    return emulator, lambda: (AzureRecognizer(_azure_account(emulator)), AzureSynthesizer(_azure_account(emulator)))


def _azure_account(emulator):
    return AzureSettings(KEY, host=emulator.host)


def _elevenlabs_service(ear, mouth):
    emulator = ElevenLabsEmulator(ear, mouth, MENU.phrases, key=KEY)

    def made():
        account = ElevenLabsSettings(KEY, emulator.base_url)
        return ElevenLabsRecognizer(account), ElevenLabsSynthesizer(account)

    return emulator, made


async def _resource_counts(service, tier, said, recognitions, syntheses, batches, at_once, advance):
    emulator, make = service
    async with emulator:
        recognizer, synthesizer = make()
        await asyncio.gather(recognizer.start(), synthesizer.start())
        async with aclosing(recognizer), aclosing(synthesizer):
            for _ in range(batches):
                jobs = [
                    *(lambda: _recognize(recognizer, said) for _ in range(recognitions // batches)),
                    *(lambda: _synthesize(synthesizer, VOICES[tier]) for _ in range(syntheses // batches)),
                ]
                places = asyncio.Semaphore(at_once)
                failures = sum(await asyncio.gather(*(_run_concurrently(job, places) for job in jobs)))
                await _wait_until_released(recognizer)
                emulator.forget()  # what it remembers is not what is looked for
                yield {**_process_figures(), "open": recognizer.sessions, "failures": failures}
                advance()


async def _run_concurrently(job, places):
    async with places:
        return not await job()


async def _recognize(recognizer, said):
    done = asyncio.get_running_loop().create_future()

    def ended(result):
        if not done.done():
            done.set_result(result)

    recognition = recognizer.open(MENU, lambda heard: heard.final and ended(heard.text), lambda error: ended(""))
    try:
        for place in range(0, len(said), 160):
            recognition.feed(said[place : place + 160])
            await asyncio.sleep(PACE)
        recognition.finish()
        return "sales" in (await done).lower()
    finally:
        recognition.close()


async def _synthesize(synthesizer, voice):
    async with aclosing(synthesizer.speak("Good day, this is a short sentence.", voice)) as sounds:
        return sum([len(chunk) async for chunk in sounds]) > 8000


async def _wait_until_released(recognizer, seconds=20.0):
    """Until what was ended is gone, as far as it goes in that time: an SDK ends it after we have let go of it."""
    loop = asyncio.get_running_loop()
    end, since, before = loop.time() + seconds, loop.time(), None
    while loop.time() < end and (recognizer.sessions or loop.time() - since < STEADY):
        if (now := _resources_in_use()) != before:
            since, before = loop.time(), now
        await asyncio.sleep(0.1)
    gc.collect()


def _resources_in_use():
    """Threads and open files of this process; the former of the SDKs' and of ours."""
    ours = threading.active_count()
    every = len(os.listdir("/proc/self/task"))  # noqa: PTH208 (names only)
    return every - ours, ours, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _process_figures():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return dict(zip(GROWTH, (*_resources_in_use(), int(fields["VmRSS"].split()[0]) // 1024), strict=True))


def has_no_leaks(counts):
    """Whether the last batch left no more than the first, but for what is allowed; and nothing failed."""
    first, last = counts[0], counts[-1]
    grown = all(last[what] - first[what] <= most for what, most in GROWTH.items())
    return grown and not any(count["failures"] or count["open"] for count in counts)


async def _main(recognitions, syntheses):
    console, good = Console(), True
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("soak", total=2 * BATCHES)
        async for name, batches in soak(recognitions, syntheses, advance=lambda: progress.advance(task)):
            counts = [one async for one in batches]
            table = Table(name, *counts[0], box=None)
            for number, count in enumerate(counts, 1):
                table.add_row(f"batch {number}", *map(str, count.values()))
            console.print(table)
            good = good and has_no_leaks(counts)
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recognitions", type=int, default=500)
    parser.add_argument("--syntheses", type=int, default=2_000)
    given = parser.parse_args()
    sys.exit(not asyncio.run(_main(given.recognitions, given.syntheses)))
