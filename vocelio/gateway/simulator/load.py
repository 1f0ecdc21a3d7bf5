"""The light way to keep a stream busy, for benchmarks: no caller, no recording, one task and one timer a stream.

What comes back is buffered, played and marked as in a call, so that a gateway that waits for its marks gets them.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass

from vocelio.gateway.simulator import error_codes, sids
from vocelio.gateway.simulator.error_codes import CarrierError, Fault
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.client import Stream
from vocelio.gateway.simulator.media.connect import open_socket
from vocelio.gateway.simulator.media.frame_clock import Pace
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS
from vocelio.gateway.simulator.media.playback_buffer import Line
from vocelio.gateway.simulator.report.report import StreamReport
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.account import Account


@dataclass(frozen=True, slots=True)
class Ticket:
    """A stream to open: the call it is of, the url and the parameters (the token among them) from the TwiML."""

    call_sid: str
    url: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A stream under load: frames sent, media messages that came back, marks returned, and the socket's own report.

    ``cleared`` is when the server wanted the buffer cleared, ``began`` when the first frame was sent: seconds.
    """

    sent: int
    messages: int
    marks: int
    stream: StreamReport
    errors: tuple[Fault, ...]
    began: float = 0.0
    cleared: tuple[float, ...] = ()


async def ring(account: Account, to: str, from_: str) -> Ticket:
    """Post the voice webhook of a new call; the first stream of its TwiML. Raises CarrierError."""
    call_sid = sids.sid("CA", account.rng)
    fields = {**account.form(call_sid, to, from_), "CallStatus": "ringing"}
    answer = await account.poster.post(account.public_url + account.voice, fields)
    verbs = parser.parse(answer.twiml())
    for verb in verbs:
        if isinstance(verb, parser.Stream):
            return Ticket(call_sid, verb.url, verb.parameters)
    raise CarrierError(error_codes.SCHEMA, "the TwiML connects no stream")


async def stream(account: Account, ticket: Ticket, audio: bytes, seconds: float) -> LoadReport:
    """Send ``audio`` over and over for ``seconds``, or until the server closes the socket, then hang up."""
    stream_sid = sids.sid("MZ", account.rng)
    connection = await open_socket(account.media_server, ticket.url, account.signer, account.switches.connect_seconds)
    outgoing = wire_messages.Outgoing(account.sid, ticket.call_sid, stream_sid, ticket.parameters)
    loop = asyncio.get_running_loop()
    placed = loop.time()
    line = Line(stream_sid, outgoing)
    opened = Stream(connection, line, lambda: loop.time() - placed, account.switches)
    try:
        await opened.open()
        began = loop.time() - placed
        sent = await _pump(opened, _payloads(audio), placed, seconds)
    finally:
        await opened.hang_up()
    report, cleared = opened.report(1, stream_sid), tuple(clear.at for clear in line.clears)
    return LoadReport(sent, line.messages, len(line.marks), report, tuple(line.faults), began, cleared)


async def _pump(stream: Stream, payloads: tuple[str, ...], placed: float, seconds: float) -> int:
    listening = asyncio.create_task(stream.listen())
    pace = Pace(placed)
    sent = 0
    try:
        while not listening.done() and sent * FRAME_SECONDS < seconds:
            at = await pace.tick() - placed
            await stream.send(stream.line.play(at).returns, payloads[sent % len(payloads)])
            sent += 1
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return sent


def _payloads(audio: bytes) -> tuple[str, ...]:
    """``audio`` in frames, ready to send; the last one is filled up with silence."""
    if not audio:
        return (wire_messages.SILENT_PAYLOAD,)
    frames = (audio[start : start + FRAME_SAMPLES] for start in range(0, len(audio), FRAME_SAMPLES))
    return tuple(base64.b64encode(frame + wire_messages.SILENT_FRAME[len(frame) :]).decode() for frame in frames)
