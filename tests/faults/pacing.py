"""How late a caller gets the gateway's sound: each message against the moment at which it is due.

python -m tests.faults.pacing SECONDS PORT...

A prompt's first two seconds come at once. From then on a message is due whenever what Twilio holds has shrunk by one
piece. A few callers at each port listen to a long prompt for so long, in a process of their own and past the balancer,
so that what these have to do is not in the figures; what is printed is the lateness of all messages in ms, as JSON.
"""

import asyncio
import contextlib
import json
import sys

from tests.faults.cluster import ACCOUNT, PUBLIC_URL, TOKEN
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.media.playout import LEAD, PIECE
from vocelio.gateway.server import loop_factory
from vocelio.gateway.simulator import sids, wire
from vocelio.gateway.simulator.carrier import Carrier
from vocelio.gateway.simulator.line import Line
from vocelio.gateway.simulator.pace import Pace
from vocelio.gateway.simulator.stream import Stream
from vocelio.gateway.simulator.upgrade import open_socket
from vocelio.gateway.store import flows, numbers, promotion
from vocelio.gateway.store.actor import Actor
from vocelio.gateway.store.numbers import NewNumber

NUMBER, CALLER = "+13072249664", "+13105550143"
CALLERS = 4  # at each port
HELD = LEAD - PIECE / wire.SAMPLE_RATE  # seconds of sound at Twilio when the next message is due
FLOW = {
    "name": "A recital",
    "start": "recite",
    "nodes": {
        "recite": {
            "type": "say",
            "text": "The tide comes in, the tide goes out, and the ships in the harbour rise and fall with it. " * 12,
            "exits": {"next": "bye"},
        },
        "bye": {"type": "hangup"},
    },
}


class Timed(Line):
    """A stream with one prompt. ``late_ms`` is of each message behind its first seconds."""

    def __init__(self, *args):
        super().__init__(*args)
        self.late_ms = []
        self._empty_at = 0.0

    def receive(self, message, at):
        before = self.received
        returned = super().receive(message, at)
        if self.received > before:
            if before >= LEAD * wire.SAMPLE_RATE:
                self.late_ms.append((at - self._empty_at + HELD) * 1e3)
            self._empty_at = max(self._empty_at, at) + (self.received - before) / wire.SAMPLE_RATE
        return returned


async def prepare(database):
    """Make the flow that is listened to, and its number."""
    actor = Actor("tests", "admin", "harbour", "", wall_clock())
    await flows.put(database, actor, "recital", json.dumps(FLOW).encode(), None)
    await promotion.promote(database, actor, "recital", "")
    await numbers.create(database, actor, NewNumber(NUMBER))
    await numbers.assign(database, actor, NUMBER, "recital")


async def measure(members, seconds):
    """The lateness of all messages to callers of these members for so long: ms."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.pacing", str(seconds), *(str(member.port) for member in members)),
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


async def _listen(carrier, seconds):
    ticket, account, loop = await carrier.ring(NUMBER, CALLER), carrier._account, asyncio.get_running_loop()
    connection = await open_socket(account.media_server, ticket.url, account.signer, account.switches.connect_seconds)
    stream_sid = sids.sid("MZ", account.rng)
    line = Timed(stream_sid, wire.Outgoing(account.sid, ticket.call_sid, stream_sid, ticket.parameters))
    stream = Stream(connection, line, loop.time, account.switches)
    await stream.open()
    listening, pace, until = asyncio.create_task(stream.listen()), Pace(loop.time()), loop.time() + seconds
    while loop.time() < until and not listening.done():
        await stream.send(line.play(await pace.tick()).returns, wire.SILENT_PAYLOAD)
    await stream.hang_up()
    await listening
    fields = account.form(ticket.call_sid, NUMBER, CALLER) | {"CallStatus": "completed", "CallDuration": "1"}
    await account.poster.post(account.public_url + account.status, fields)
    return line.late_ms


async def _main(seconds, ports):
    async with contextlib.AsyncExitStack() as stack:
        carriers = [
            await stack.enter_async_context(Carrier(f"http://127.0.0.1:{port}", PUBLIC_URL, ACCOUNT, TOKEN))
            for port in ports
        ]
        found = await asyncio.gather(*(_listen(carrier, seconds) for carrier in carriers * CALLERS))
    print(json.dumps([late for one in found for late in one]))  # noqa: T201 (for who started this)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_main(float(sys.argv[1]), sys.argv[2:]))
