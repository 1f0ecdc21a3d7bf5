"""Lateness of the gateway's audio: when each media message arrives, compared with when it is due.

python -m tests.resilience.playout_gaps SECONDS PORT:PID...

The first two seconds of a prompt are sent at once. After that, a message is due whenever Twilio's buffer has shrunk by
one chunk. A few callers per gateway listen to a long prompt, in a process of their own and without the balancer, to
keep their load out of the figures. Other processes use the same cores: a message is not counted if the gateway or this
process had to wait for a CPU (measured by Linux). Prints for each message its arrival, how many ms it was late, and how
many ms both processes had waited for a CPU since the message before.
"""

import asyncio
import contextlib
import json
import math
import os
import sys
from pathlib import Path

from tests.resilience.cluster import ACCOUNT, PUBLIC_URL, TOKEN, assign_flow
from tests.resilience.silence import percentile
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.media.playout import CHUNK_BYTES, MAX_LEAD_SECONDS
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.client import StreamClient, open_socket
from vocelio.gateway.simulator.media.frame_clock import FrameClock
from vocelio.gateway.simulator.media.playback_buffer import StreamBuffer
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.store.audit import Actor

NUMBER, CALLER = "+13072249664", "+13105550143"
CALLERS = 4  # of each gateway
MAX_STARVED_MS = 20.0  # between two messages: at most a tenth of the time
MIN_MESSAGES = 100  # for a p99
BUFFERED_SECONDS = MAX_LEAD_SECONDS - CHUNK_BYTES / wire_messages.SAMPLE_RATE  # at Twilio when a message is due
FLOW = {
    "name": "A recital",
    "start": "recite",
    "nodes": {
        "recite": {
            "type": "say",
            "text": "The tide comes in, the tide goes out, and the ships in the harbour rise and fall with it. " * 16,
            "exits": {"next": "bye"},
        },
        "bye": {"type": "hangup"},
    },
}


class TimedStreamBuffer(StreamBuffer):
    """Buffer of a stream with one prompt. ``late`` has (arrival, ms late, ms starved) after the first two seconds."""

    def __init__(self, gateway_pid, *args):
        super().__init__(*args)
        self.late = []
        self._pids = gateway_pid, os.getpid()
        self._total_starved_ms = self._starved_ms()
        self._empty_at = 0.0

    def receive(self, message, at):
        before = self.received_samples
        returned = super().receive(message, at)
        if self.received_samples > before:
            starved_before, self._total_starved_ms = self._total_starved_ms, self._starved_ms()
            if before >= MAX_LEAD_SECONDS * wire_messages.SAMPLE_RATE:
                self.late.append(
                    (at, (at - self._empty_at + BUFFERED_SECONDS) * 1e3, self._total_starved_ms - starved_before)
                )
            self._empty_at = max(self._empty_at, at) + (self.received_samples - before) / wire_messages.SAMPLE_RATE
        return returned

    def _starved_ms(self):
        """Return the ms that the gateway and this process have waited for a CPU."""
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in self._pids) / 1e6


def p99_late_ms(messages, max_starved_ms=MAX_STARVED_MS):
    """Return the p99 lateness of the messages that were not starved; NaN if there are too few."""
    late = [late for _, late, starved_ms in messages if starved_ms <= max_starved_ms]
    return percentile(late, 0.99) if len(late) >= MIN_MESSAGES else math.nan


async def seed_flow(database):
    """Create the flow with the long prompt, and its number."""
    actor = Actor("tests", "admin", "harbour", "", wall_clock())
    await assign_flow(database, actor, NUMBER, "recital", FLOW)


async def measure_playout(members, seconds):
    """Measure these processes in a subprocess; return its messages, with times of the event loop's clock."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(
            "-m",
            "tests.resilience.playout_gaps",
            str(seconds),
            *(f"{member.port}:{member.process.pid}" for member in members),
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0
    return json.loads(out)


async def _run_listener(simulator, gateway_pid, seconds):
    target, account = await simulator.start_call(NUMBER, CALLER), simulator._account
    loop = asyncio.get_running_loop()
    connection = await open_socket(
        account.media_server_url, target.url, account.signer, account.behavior.connect_timeout_seconds
    )
    stream_sid = sids.new_sid("MZ", account.rng)
    buffer = TimedStreamBuffer(
        gateway_pid,
        stream_sid,
        wire_messages.MessageWriter(account.sid, target.call_sid, stream_sid, target.parameters),
    )
    stream = StreamClient(connection, buffer, loop.time, account.behavior)
    await stream.open()
    receiving, frame_clock, until = asyncio.create_task(stream.run()), FrameClock(loop.time()), loop.time() + seconds
    while loop.time() < until and not receiving.done():
        await stream.send(buffer.play(await frame_clock.tick()).marks, wire_messages.SILENT_PAYLOAD)
    await stream.hang_up()
    await receiving
    fields = account.call_fields(target.call_sid, NUMBER, CALLER) | {"CallStatus": "completed", "CallDuration": "1"}
    await account.webhook_client.post(account.public_url + account.status_path, fields)
    return buffer.late


async def _main(seconds, members):
    async with contextlib.AsyncExitStack() as stack:
        gateways = []
        for member in members:
            port, _, pid = member.partition(":")
            simulator = TwilioSimulator(f"http://127.0.0.1:{port}", PUBLIC_URL, ACCOUNT, TOKEN)
            gateways.append((await stack.enter_async_context(simulator), int(pid)))
        messages = await asyncio.gather(*(_run_listener(*gateway, seconds) for gateway in gateways * CALLERS))
    print(json.dumps([message for listener in messages for message in listener]))  # noqa: T201 (read by the parent)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_main(float(sys.argv[1]), sys.argv[2:]))
