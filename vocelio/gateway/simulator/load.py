"""Load on one stream, for benchmarks: no caller and no recording, one task and one timer per stream.

Received audio is buffered, played and marked as in a call, so that a gateway that waits for its marks gets them.
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
    """A stream to open: its call, and the URL and parameters (with the stream token) from the TwiML."""

    call_sid: str
    url: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Result of one stream under load.

    ``started_at`` is when the first frame was sent, ``cleared_at`` when each ``clear`` was received, in seconds since
    the socket was opened.
    """

    frames_sent: int
    media_messages: int
    marks_returned: int
    stream_report: StreamReport
    errors: tuple[DebuggerEntry, ...]
    started_at: float = 0.0
    cleared_at: tuple[float, ...] = ()


async def start_call(account: SimulatedAccount, to: str, from_: str) -> StreamTarget:
    """Post the voice webhook of a new call; return the first stream of its TwiML. Raises TwilioSimError."""
    call_sid = sids.new_sid("CA", account.rng)
    fields = {**account.call_fields(call_sid, to, from_), "CallStatus": "ringing"}
    response = await account.webhook_client.post(account.public_url + account.voice_path, fields)
    verbs = parser.parse(response.twiml_body())
    for verb in verbs:
        if isinstance(verb, parser.Stream):
            return StreamTarget(call_sid, verb.url, verb.parameters)
    raise TwilioSimError(error_codes.SCHEMA_VALIDATION, "the TwiML has no <Stream>")


async def stream(account: SimulatedAccount, target: StreamTarget, audio: bytes, seconds: float) -> LoadReport:
    """Send ``audio`` repeatedly for ``seconds`` or until the server closes the socket, then hang up."""
    stream_sid = sids.new_sid("MZ", account.rng)
    connection = await open_socket(
        account.media_server_url, target.url, account.signer, account.behavior.connect_timeout_seconds
    )
    writer = wire_messages.MessageWriter(account.sid, target.call_sid, stream_sid, target.parameters)
    loop = asyncio.get_running_loop()
    opened_at = loop.time()
    buffer = StreamBuffer(stream_sid, writer)
    client = StreamClient(connection, buffer, lambda: loop.time() - opened_at, account.behavior)
    try:
        await client.open()
        started_at = loop.time() - opened_at
        frames_sent = await _send_audio(client, _to_payloads(audio), opened_at, seconds)
    finally:
        await client.hang_up()
    return LoadReport(
        frames_sent,
        buffer.media_messages,
        len(buffer.returned_marks),
        client.make_report(1, stream_sid),
        tuple(buffer.errors),
        started_at,
        tuple(clear.at for clear in buffer.clears),
    )


async def _send_audio(stream: StreamClient, payloads: tuple[str, ...], opened_at: float, seconds: float) -> int:
    receiving = asyncio.create_task(stream.run())
    frame_clock = FrameClock(opened_at)
    sent = 0
    try:
        while not receiving.done() and sent * FRAME_SECONDS < seconds:
            at = await frame_clock.tick() - opened_at
            await stream.send(stream.buffer.play(at).marks, payloads[sent % len(payloads)])
            sent += 1
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    return sent


def _to_payloads(audio: bytes) -> tuple[str, ...]:
    """Split ``audio`` into base64 payloads of one frame; the last one is padded with silence."""
    if not audio:
        return (wire_messages.SILENT_PAYLOAD,)
    frames = (audio[start : start + FRAME_SAMPLES] for start in range(0, len(audio), FRAME_SAMPLES))
    return tuple(base64.b64encode(frame + wire_messages.SILENT_FRAME[len(frame) :]).decode() for frame in frames)
