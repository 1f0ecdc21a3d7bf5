"""Soak test of the speech SDKs, in batches: python -m tests.support.speech_soak.

Threads, sockets and memory of this process, which also runs the emulated services, are counted after each batch. What
the first batch leaves (loaded SDKs, idle connections, the allocator's memory) is the baseline; later batches must not
add to it.
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

CONCURRENCY = 10
BATCHES = 10
FRAME_INTERVAL_SECONDS = 0.005  # seconds per frame of 20 ms: the emulator's recognizer runs at four times real time
KEY = "a-key"
MENU = RecognitionHints(("sales please", "my invoice"))
VOICES = {"azure": Voice("azure", "en-US-AvaNeural"), "elevenlabs": Voice("elevenlabs", VOICE)}
# What the last batch may have more than the first. Our own threads are kept, as many as were needed at once.
GROWTH = {"SDK threads": 8, "our threads": CONCURRENCY, "sockets": 8, "MB": 30}
STEADY_SECONDS = 2.0  # seconds without a change after which everything has been released


async def soak(recognitions, syntheses, batches=BATCHES, concurrency=CONCURRENCY, advance=lambda: None):
    """Yield each provider with its counts after each batch, of this many sessions of each kind in total."""
    jobs = recognitions, syntheses, batches, concurrency, advance
    local_recognizer, local_synthesizer = LocalRecognizer(workers=1), LocalSynthesizer()
    await local_recognizer.start()
    async with aclosing(local_synthesizer), aclosing(local_recognizer):
        async with aclosing(local_synthesizer.speak("sales please", Voice(name="en-us+f3"))) as made:
            audio = b"".join([chunk async for chunk in made]) + bytes([SILENCE_BYTE]) * 1600
        yield "azure", _resource_counts(_azure_service(local_recognizer, local_synthesizer), "azure", audio, *jobs)
        yield (
            "elevenlabs",
            _resource_counts(_elevenlabs_service(local_recognizer, local_synthesizer), "elevenlabs", audio, *jobs),
        )


def _azure_service(local_recognizer, local_synthesizer):
    emulator = AzureEmulator(local_recognizer, local_synthesizer, key=KEY)
    return emulator, lambda: (AzureRecognizer(_azure_account(emulator)), AzureSynthesizer(_azure_account(emulator)))


def _azure_account(emulator):
    return AzureSettings(KEY, host=emulator.host)


def _elevenlabs_service(local_recognizer, local_synthesizer):
    emulator = ElevenLabsEmulator(local_recognizer, local_synthesizer, MENU.phrases, key=KEY)

    def made():
        account = ElevenLabsSettings(KEY, emulator.base_url)
        return ElevenLabsRecognizer(account), ElevenLabsSynthesizer(account)

    return emulator, made


async def _resource_counts(service, tier, audio, recognitions, syntheses, batches, concurrency, advance):
    emulator, make = service
    async with emulator:
        recognizer, synthesizer = make()
        await asyncio.gather(recognizer.start(), synthesizer.start())
        async with aclosing(recognizer), aclosing(synthesizer):
            for _ in range(batches):
                jobs = [
                    *(lambda: _recognize(recognizer, audio) for _ in range(recognitions // batches)),
                    *(lambda: _synthesize(synthesizer, VOICES[tier]) for _ in range(syntheses // batches)),
                ]
                semaphore = asyncio.Semaphore(concurrency)
                failures = sum(await asyncio.gather(*(_run_concurrently(job, semaphore) for job in jobs)))
                await _wait_until_released(recognizer)
                emulator.clear_records()  # which are not a leak
                yield {**_process_figures(), "open": recognizer.sessions, "failures": failures}
                advance()


async def _run_concurrently(job, semaphore):
    async with semaphore:
        return not await job()


async def _recognize(recognizer, audio):
    done = asyncio.get_running_loop().create_future()

    def finish(result):
        if not done.done():
            done.set_result(result)

    recognition = recognizer.open(
        MENU, lambda transcript: transcript.final and finish(transcript.text), lambda error: finish("")
    )
    try:
        for start in range(0, len(audio), 160):
            recognition.feed(audio[start : start + 160])
            await asyncio.sleep(FRAME_INTERVAL_SECONDS)
        recognition.finish()
        return "sales" in (await done).lower()
    finally:
        recognition.close()


async def _synthesize(synthesizer, voice):
    async with aclosing(synthesizer.speak("Good day, this is a short sentence.", voice)) as chunks:
        return sum([len(chunk) async for chunk in chunks]) > 8000


async def _wait_until_released(recognizer, seconds=20.0):
    """Wait until the SDKs have released closed sessions, which they do later, but no longer than ``seconds``."""
    loop = asyncio.get_running_loop()
    end, changed_at, previous = loop.time() + seconds, loop.time(), None
    while loop.time() < end and (recognizer.sessions or loop.time() - changed_at < STEADY_SECONDS):
        if (now := _resources_in_use()) != previous:
            changed_at, previous = loop.time(), now
        await asyncio.sleep(0.1)
    gc.collect()


def _resources_in_use():
    """Return the numbers of SDK threads, our threads and open files of this process."""
    ours = threading.active_count()
    total = len(os.listdir("/proc/self/task"))  # noqa: PTH208 (names only)
    return total - ours, ours, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _process_figures():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return dict(zip(GROWTH, (*_resources_in_use(), int(fields["VmRSS"].split()[0]) // 1024), strict=True))


def has_no_leaks(counts):
    """Tell whether the last batch left no more than the first plus GROWTH, and nothing failed."""
    first, last = counts[0], counts[-1]
    grown = all(last[kind] - first[kind] <= limit for kind, limit in GROWTH.items())
    return grown and not any(count["failures"] or count["open"] for count in counts)


async def _main(recognitions, syntheses):
    console, passed = Console(), True
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("soak", total=2 * BATCHES)
        async for name, batches in soak(recognitions, syntheses, advance=lambda: progress.advance(task)):
            counts = [item async for item in batches]
            table = Table(name, *counts[0], box=None)
            for number, count in enumerate(counts, 1):
                table.add_row(f"batch {number}", *map(str, count.values()))
            console.print(table)
            passed = passed and has_no_leaks(counts)
    return passed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recognitions", type=int, default=500)
    parser.add_argument("--syntheses", type=int, default=2_000)
    arguments = parser.parse_args()
    sys.exit(not asyncio.run(_main(arguments.recognitions, arguments.syntheses)))
