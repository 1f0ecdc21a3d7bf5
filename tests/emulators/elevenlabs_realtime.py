"""The emulated realtime speech to text: the WebSocket /v1/speech-to-text/realtime, in mu-law.

Seen of the real service and done likewise: a session without sound is closed after 15 s, with code 1000; a commit of
less than 0.3 s is answered with ``commit_throttled`` and the end; ``commit`` works under both commit strategies.
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

MIN_COMMIT_BYTES = 2400  # bytes of mu-law, 0.3 s
MAX_CHUNK_BYTES = 80_000
FRAME_BYTES = 160
DRIP_FACTOR = 10  # seconds of waiting for each second of sound


@dataclass
class RealtimeSession:
    """A session that was opened, and what was heard in it."""

    query: dict[str, str]
    keyterms: list[str]
    heard: list[str] = field(default_factory=list)
    received: int = 0  # bytes of sound
    open: bool = True


class InvalidMessage(Exception):
    """An error message, after which the session ends."""


class RealtimeEndpoint:
    """Hears with ``ear`` what is in ``vocabulary``."""

    def __init__(self, ear: LocalRecognizer, vocabulary: tuple[str, ...], idle: float) -> None:
        self._ear, self._vocabulary, self._idle = ear, vocabulary, idle
        self.sessions: list[RealtimeSession] = []
        self._conversations: set[RealtimeConversation] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One session."""
        socket = web.WebSocketResponse(autoclose=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        session = RealtimeSession(dict(request.query), request.query.getall("keyterms", []))
        self.sessions.append(session)
        conversation = RealtimeConversation(request, socket, session, self._ear, self._vocabulary, self._idle)
        self._conversations.add(conversation)
        try:
            await conversation.run()
        finally:
            session.open = False
            conversation.end()
            self._conversations.discard(conversation)
        return socket

    def end(self) -> None:
        """Nobody listens any more."""
        for conversation in self._conversations:
            conversation.end()


class RealtimeConversation:
    """One session while it lasts."""

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        session: RealtimeSession,
        ear: LocalRecognizer,
        vocabulary: tuple[str, ...],
        idle: float,
    ) -> None:
        self._request, self._socket, self._session = request, socket, session
        self._ear, self._vocabulary, self._idle = ear, vocabulary, idle
        self._fault = request[FAULT_KEY]
        self._activity: VoiceActivityDetector | None = None
        self._segment: SegmentRecognition | None = None
        self._frames = b""
        self._uncommitted = 0
        self._untold: list[str] = []
        self._partials: asyncio.Queue[str] = asyncio.Queue()
        self._telling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until one side closes it."""
        try:
            if self._fault == "silent":
                await asyncio.Event().wait()
            await self._send("session_started", session_id="s", config=self._configure())
            self._telling = asyncio.create_task(self._send_partials())
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
        """Forget what is being heard."""
        if self._telling:
            self._telling.cancel()
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
            self._activity = VoiceActivityDetector()
            self._activity.silence_seconds = silence
        return {"sample_rate": 8000, "audio_format": "ulaw_8000", "vad_silence_threshold_secs": silence}

    async def _receive(self) -> dict[str, object] | None:
        async with asyncio.timeout(self._idle):
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
                self._segment = SegmentRecognition(self._ear, self._vocabulary, self._partials.put_nowait)
            self._segment.recognition.feed(frame)
            if self._activity and any(isinstance(edge, SpeechEnded) for edge in self._run_vad(frame)):
                await self._commit()

    def _run_vad(self, frame: bytes) -> list[object]:
        assert self._activity is not None
        return list(self._activity.feed(mulaw.decode(frame)))

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
        self._untold.append(text)
        if text or self._fault != "tardy":
            for one in self._untold:
                await self._send("committed_transcript", text=as_scribe_writes(one))
            self._untold.clear()

    async def _send(self, kind: str, **fields: object) -> None:
        await self._socket.send_json({"message_type": kind, **fields})


class SegmentRecognition:
    """What was said since the last commit."""

    def __init__(self, ear: LocalRecognizer, vocabulary: tuple[str, ...], partial: Callable[[str], None]) -> None:
        self._partial = partial
        self.final: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.recognition: LocalRecognition = ear.open(RecognitionHints(vocabulary), self._heard, self._failed)

    def _heard(self, heard: Transcript) -> None:
        if not heard.final:
            self._partial(heard.text)
        elif not self.final.done():
            self.final.set_result(heard.text)

    def _failed(self, error: SpeechError) -> None:
        if not self.final.done():
            self.final.set_exception(InvalidMessage(f"transcriber_error: {error}"))


def as_scribe_writes(text: str) -> str:
    """As Scribe writes: with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}." if text else ""
