"""Emulated realtime speech-to-text endpoint: WebSocket /v1/speech-to-text/realtime, in mu-law.

Behavior observed with the real service: a session without audio is closed after 15 s with code 1000; a commit of less
than 0.3 s is answered with ``commit_throttled`` and closed; ``commit`` works with both commit strategies.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from tests.emulators.elevenlabs_errors import FAULT_KEY, abort_connection
from vocelio.codecs import mulaw
from vocelio.codecs.vad import SpeechEnded, VoiceActivityDetector
from vocelio.gateway.speech.interfaces import RecognitionHints, SpeechError, Transcript
from vocelio.gateway.speech.local.recognizer import LocalRecognition, LocalRecognizer

MIN_COMMIT_BYTES = 2400  # 0.3 s of mu-law
MAX_CHUNK_BYTES = 80_000
FRAME_BYTES = 160
DRIP_FACTOR = 10  # seconds of delay per second of audio


@dataclass
class RealtimeSession:
    """One session and its transcripts."""

    query: dict[str, str]
    keyterms: list[str]
    heard: list[str] = field(default_factory=list)
    received: int = 0  # bytes of audio
    open: bool = True


class InvalidMessage(Exception):
    """An invalid message; the session ends with an error."""


class RealtimeEndpoint:
    """Recognizes the words of ``vocabulary`` locally."""

    def __init__(self, recognizer: LocalRecognizer, vocabulary: tuple[str, ...], idle_seconds: float) -> None:
        self._recognizer, self._vocabulary, self._idle_seconds = recognizer, vocabulary, idle_seconds
        self.sessions: list[RealtimeSession] = []
        self._conversations: set[RealtimeConversation] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        session = RealtimeSession(dict(request.query), request.query.getall("keyterms", []))
        self.sessions.append(session)
        conversation = RealtimeConversation(
            request, socket, session, self._recognizer, self._vocabulary, self._idle_seconds
        )
        self._conversations.add(conversation)
        try:
            await conversation.run()
        finally:
            session.open = False
            conversation.end()
            self._conversations.discard(conversation)
        return socket

    def end(self) -> None:
        """Stop the recognition of all sessions."""
        for conversation in self._conversations:
            conversation.end()


class RealtimeConversation:
    """Protocol of one open session."""

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        session: RealtimeSession,
        recognizer: LocalRecognizer,
        vocabulary: tuple[str, ...],
        idle_seconds: float,
    ) -> None:
        self._request, self._socket, self._session = request, socket, session
        self._recognizer, self._vocabulary, self._idle_seconds = recognizer, vocabulary, idle_seconds
        self._fault = request[FAULT_KEY]
        self._vad: VoiceActivityDetector | None = None
        self._segment: SegmentRecognition | None = None
        self._frames = b""
        self._uncommitted = 0
        self._unsent_texts: list[str] = []
        self._partials: asyncio.Queue[str] = asyncio.Queue()
        self._partials_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run until one side closes the socket."""
        try:
            if self._fault == "silent":
                await asyncio.Event().wait()
            await self._send("session_started", session_id="s", config=self._configure())
            self._partials_task = asyncio.create_task(self._send_partials())
            while (message := await self._receive()) is not None:
                await self._on_message(message)
        except InvalidMessage as error:
            name, _, text = str(error).partition(": ")
            await self._send(name, error=text)
            await self._socket.close(code=1000 if name == "commit_throttled" else 1008, message=name.encode())
        except TimeoutError:
            await self._socket.close(code=1000)
        if self._fault == "slow_close":
            await asyncio.sleep(5)
        await self._socket.close()

    def end(self) -> None:
        """Stop the recognition."""
        if self._partials_task:
            self._partials_task.cancel()
        if self._segment:
            self._segment.recognition.close()
            self._segment = None

    def _configure(self) -> dict[str, object]:
        query, keyterms = self._session.query, self._session.keyterms
        if query.get("model_id") != "scribe_v2_realtime" or query.get("audio_format") != "ulaw_8000":
            raise InvalidMessage("invalid_request: model or format")
        if not re.fullmatch("[a-z]{2,3}", query.get("language_code", "en")):
            raise InvalidMessage("invalid_request: language_code")
        if len(keyterms) > 50 or any(len(term) > 20 or len(term.split()) > 5 for term in keyterms):
            raise InvalidMessage("invalid_request: keyterms")
        strategy = query.get("commit_strategy", "manual")
        silence = float(query.get("vad_silence_threshold_secs", "1.5"))
        if strategy not in ("manual", "vad") or not 0.3 < silence <= 3.0:
            raise InvalidMessage("invalid_request: commit_strategy or vad_silence_threshold_secs")
        if strategy == "vad":
            self._vad = VoiceActivityDetector()
            self._vad.silence_seconds = silence
        return {"sample_rate": 8000, "audio_format": "ulaw_8000", "vad_silence_threshold_secs": silence}

    async def _receive(self) -> dict[str, object] | None:
        async with asyncio.timeout(self._idle_seconds):
            message = await self._socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        return json.loads(message.data)

    async def _on_message(self, message: dict[str, object]) -> None:
        if message.get("message_type") != "input_audio_chunk" or not isinstance(message.get("commit"), bool):
            raise InvalidMessage("invalid_request: message_type or commit")
        if message.get("sample_rate") != 8000:
            raise InvalidMessage("input_error: sample_rate")
        try:
            sound = base64.b64decode(str(message.get("audio_base_64")), validate=True)
        except binascii.Error:
            raise InvalidMessage("input_error: audio_base_64") from None
        if len(sound) > MAX_CHUNK_BYTES:
            raise InvalidMessage("chunk_size_exceeded: too much")
        self._session.received += len(sound)
        if self._fault == "garbage":
            await self._socket.send_str("<html>502</html>")
        if self._fault == "abrupt":
            abort_connection(self._request)
        if self._fault == "stall":
            await asyncio.Event().wait()
        await self._on_audio(sound)
        if message["commit"]:
            if self._uncommitted < MIN_COMMIT_BYTES:
                raise InvalidMessage("commit_throttled: Commit request ignored")
            await self._commit()

    async def _on_audio(self, sound: bytes) -> None:
        self._frames += sound
        while len(self._frames) >= FRAME_BYTES:
            frame, self._frames = self._frames[:FRAME_BYTES], self._frames[FRAME_BYTES:]
            self._uncommitted += len(frame)
            if self._segment is None:
                self._segment = SegmentRecognition(self._recognizer, self._vocabulary, self._partials.put_nowait)
            self._segment.recognition.feed(frame)
            if self._vad and any(isinstance(edge, SpeechEnded) for edge in self._run_vad(frame)):
                await self._commit()

    def _run_vad(self, frame: bytes) -> list[object]:
        assert self._vad is not None
        return list(self._vad.feed(mulaw.decode(frame)))

    async def _send_partials(self) -> None:
        while True:
            text = await self._partials.get()
            await self._send("partial_transcript", text=as_scribe_writes(text))

    async def _commit(self) -> None:
        seconds, self._uncommitted = self._uncommitted / 8000, 0
        text = ""
        if self._segment:
            self._segment.recognition.finish()
            text = await self._segment.final
            self._segment = None
        if self._fault == "drip":
            await asyncio.sleep(seconds * DRIP_FACTOR)
        self._session.heard.append(text)
        self._unsent_texts.append(text)
        if text or self._fault != "tardy":
            for unsent in self._unsent_texts:
                await self._send("committed_transcript", text=as_scribe_writes(unsent))
            self._unsent_texts.clear()

    async def _send(self, kind: str, **fields: object) -> None:
        await self._socket.send_json({"message_type": kind, **fields})


class SegmentRecognition:
    """Recognition of the audio since the last commit."""

    def __init__(
        self, recognizer: LocalRecognizer, vocabulary: tuple[str, ...], on_partial: Callable[[str], None]
    ) -> None:
        self._on_partial = on_partial
        self.final: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.recognition: LocalRecognition = recognizer.open(
            RecognitionHints(vocabulary), self._on_transcript, self._on_error
        )

    def _on_transcript(self, transcript: Transcript) -> None:
        if not transcript.final:
            self._on_partial(transcript.text)
        elif not self.final.done():
            self.final.set_result(transcript.text)

    def _on_error(self, error: SpeechError) -> None:
        if not self.final.done():
            self.final.set_exception(InvalidMessage(f"transcriber_error: {error}"))


def as_scribe_writes(text: str) -> str:
    """Format a text as Scribe does: with a capital letter and a period."""
    return f"{text[0].upper()}{text[1:]}." if text else ""
