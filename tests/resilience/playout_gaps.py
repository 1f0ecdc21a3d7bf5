"""How late a caller gets the gateway's sound: each message against the moment at which it is due.

python -m tests.resilience.playout_gaps SECONDS PORT:PID...

A prompt's first two seconds come at once. From then on a message is due whenever what Twilio holds has shrunk by one
piece. A few callers of each gateway listen to a long prompt, in a process of their own and past the balancer, so that
what these have to do is not in the figures. Others use the same cores: a message says nothing of the gateway if that,
or who listens, was kept waiting for a processor (Linux counts how long). Printed are, of each message, when it came,
how many ms late, and how many ms these two had been kept waiting since the one before.
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
STARVED_MS, ENOUGH = 20.0, 100  # between two messages, at most a tenth of the time; messages from which a p99 is taken
HELD = (
    MAX_LEAD_SECONDS - CHUNK_BYTES / wire_messages.SAMPLE_RATE
)  # seconds of sound at Twilio when the next message is due
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
    """A stream with one prompt. ``late`` has what is printed of its messages, those of the first seconds left out."""

    def __init__(self, gateway, *args):
        super().__init__(*args)
        self.late = []
        self._threads = gateway, os.getpid()
        self._waited = self._starved_ms()
        self._empty_at = 0.0

    def receive(self, message, at):
        before = self.received_samples
        returned = super().receive(message, at)
        if self.received_samples > before:
            before_that, self._waited = self._waited, self._starved_ms()
            if before >= MAX_LEAD_SECONDS * wire_messages.SAMPLE_RATE:
                self.late.append((at, (at - self._empty_at + HELD) * 1e3, self._waited - before_that))
            self._empty_at = max(self._empty_at, at) + (self.received_samples - before) / wire_messages.SAMPLE_RATE
        return returned

    def _starved_ms(self):
        """ms so far that the gateway and we could have run, but had no processor."""
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in self._threads) / 1e6


def p99_late_ms(messages, starved=STARVED_MS):
    """In ms, of those messages for which nobody was starved by more; NaN of too few."""
    late = [late for _, late, waited in messages if waited <= starved]
    return percentile(late, 0.99) if len(late) >= ENOUGH else math.nan


async def seed_flow(database):
    """Make the flow that is listened to, and its number."""
    actor = Actor("tests", "admin", "harbour", "", wall_clock())
    await assign_flow(database, actor, NUMBER, "recital", FLOW)


async def measure_playout(members, seconds):
    """Call these members for so long; gives what is printed, instants by the loop's clock."""
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


async def _run_listener(carrier, gateway, seconds):
    ticket, account, loop = await carrier.start_call(NUMBER, CALLER), carrier._account, asyncio.get_running_loop()
    connection = await open_socket(
        account.media_server_url, ticket.url, account.signer, account.behavior.connect_timeout_seconds
    )
    stream_sid = sids.new_sid("MZ", account.rng)
    line = TimedStreamBuffer(
        gateway, stream_sid, wire_messages.MessageWriter(account.sid, ticket.call_sid, stream_sid, ticket.parameters)
    )
    stream = StreamClient(connection, line, loop.time, account.behavior)
    await stream.open()
    listening, pace, until = asyncio.create_task(stream.run()), FrameClock(loop.time()), loop.time() + seconds
    while loop.time() < until and not listening.done():
        await stream.send(line.play(await pace.tick()).marks, wire_messages.SILENT_PAYLOAD)
    await stream.hang_up()
    await listening
    fields = account.call_fields(ticket.call_sid, NUMBER, CALLER) | {"CallStatus": "completed", "CallDuration": "1"}
    await account.webhook_client.post(account.public_url + account.status_path, fields)
    return line.late


async def _main(seconds, members):
    async with contextlib.AsyncExitStack() as stack:
        gateways = []
        for member in members:
            port, _, pid = member.partition(":")
            carrier = TwilioSimulator(f"http://127.0.0.1:{port}", PUBLIC_URL, ACCOUNT, TOKEN)
            gateways.append((await stack.enter_async_context(carrier), int(pid)))
        found = await asyncio.gather(*(_run_listener(*gateway, seconds) for gateway in gateways * CALLERS))
    print(json.dumps([message for one in found for message in one]))  # noqa: T201 (for who started this)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_main(float(sys.argv[1]), sys.argv[2:]))
