"""The light way to keep a stream busy, for benchmarks: no caller, no recording, one task and one timer a stream.

What comes back is buffered, played and marked as in a call, so that a gateway that waits for its marks gets them.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass

from vocelio.gateway.simulator import error_codes, sids
from vocelio.gateway.simulator.error_codes import DebuggerEntry, TwilioSimError
from vocelio.gateway.simulator.media import messages as wire_messages
from vocelio.gateway.simulator.media.client import StreamClient, open_socket
from vocelio.gateway.simulator.media.frame_clock import FrameClock
from vocelio.gateway.simulator.media.messages import FRAME_SAMPLES, FRAME_SECONDS
from vocelio.gateway.simulator.media.playback_buffer import StreamBuffer
from vocelio.gateway.simulator.report import StreamReport
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """A stream to open: the call it is of, the url and the parameters (the token among them) from the TwiML."""

    call_sid: str
    url: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A stream under load: frames sent, media messages that came back, marks returned, and the socket's own report.

    ``cleared`` is when the server wanted the buffer cleared, ``began`` when the first frame was sent: seconds.
    """

    frames_sent: int
    media_messages: int
    marks_returned: int
    stream_report: StreamReport
    errors: tuple[DebuggerEntry, ...]
    started_at: float = 0.0
    cleared_at: tuple[float, ...] = ()


async def start_call(account: SimulatedAccount, to: str, from_: str) -> StreamTarget:
    """Post the voice webhook of a new call; the first stream of its TwiML. Raises CarrierError."""
    call_sid = sids.new_sid("CA", account.rng)
    fields = {**account.call_fields(call_sid, to, from_), "CallStatus": "ringing"}
    answer = await account.webhook_client.post(account.public_url + account.voice_path, fields)
    verbs = parser.parse(answer.twiml_body())
    for verb in verbs:
        if isinstance(verb, parser.Stream):
            return StreamTarget(call_sid, verb.url, verb.parameters)
    raise TwilioSimError(error_codes.SCHEMA_VALIDATION, "the TwiML connects no stream")


async def stream(account: SimulatedAccount, target: StreamTarget, audio: bytes, seconds: float) -> LoadReport:
    """Send ``audio`` over and over for ``seconds``, or until the server closes the socket, then hang up."""
    stream_sid = sids.new_sid("MZ", account.rng)
    connection = await open_socket(
        account.media_server_url, target.url, account.signer, account.behavior.connect_timeout_seconds
    )
    outgoing = wire_messages.MessageWriter(account.sid, target.call_sid, stream_sid, target.parameters)
    loop = asyncio.get_running_loop()
    placed = loop.time()
    line = StreamBuffer(stream_sid, outgoing)
    opened = StreamClient(connection, line, lambda: loop.time() - placed, account.behavior)
    try:
        await opened.open()
        began = loop.time() - placed
        sent = await _send_audio(opened, _to_payloads(audio), placed, seconds)
    finally:
        await opened.hang_up()
    report, cleared = opened.make_report(1, stream_sid), tuple(clear.at for clear in line.clears)
    return LoadReport(sent, line.media_messages, len(line.returned_marks), report, tuple(line.errors), began, cleared)


async def _send_audio(stream: StreamClient, payloads: tuple[str, ...], placed_at: float, seconds: float) -> int:
    listening = asyncio.create_task(stream.run())
    pace = FrameClock(placed_at)
    sent = 0
    try:
        while not listening.done() and sent * FRAME_SECONDS < seconds:
            at = await pace.tick() - placed_at
            await stream.send(stream.buffer.play(at).marks, payloads[sent % len(payloads)])
            sent += 1
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return sent


def _to_payloads(audio: bytes) -> tuple[str, ...]:
    """``audio`` in frames, ready to send; the last one is filled up with silence."""
    if not audio:
        return (wire_messages.SILENT_PAYLOAD,)
    frames = (audio[start : start + FRAME_SAMPLES] for start in range(0, len(audio), FRAME_SAMPLES))
    return tuple(base64.b64encode(frame + wire_messages.SILENT_FRAME[len(frame) :]).decode() for frame in frames)
