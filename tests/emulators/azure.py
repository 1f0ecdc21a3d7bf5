"""Emulator of Azure's speech service: its WebSocket protocol on a loopback port, with local speech engines.

It really recognizes and synthesizes speech, so that tests can compare words.
"""

import asyncio
import secrets
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from tests.emulators import azure_protocol as wire
from tests.emulators import azure_recognition as hearing
from tests.emulators import azure_synthesis as speaking
from tests.emulators.azure_connection import AzureConnection
from tests.emulators.fault_plan import FaultPlan

RECOGNITION = "/speech/recognition/conversation/cognitiveservices/v1"
SYNTHESIS = "/cognitiveservices/websocket/v1"
STATUS = {"401": 401, "429": 429, "500": 500}
PACE_FACTOR = 50  # audio is sent at this multiple of real time


@dataclass(frozen=True)
class SynthesisRequest:
    """One synthesis request and its audio."""

    text: str
    voice: str
    ssml: str
    sound: bytearray


class AzureEmulator:
    """The service. The test starts ``recognizer`` and ``synthesizer``; ``vocabulary`` is added to all phrase lists."""

    def __init__(self, recognizer, synthesizer, vocabulary=(), key="a key", voice="en-us", fault_plan=None):
        self._recognizer, self._synthesizer, self._vocabulary, self._voice = (
            recognizer,
            synthesizer,
            tuple(vocabulary),
            voice,
        )
        self.key = key
        self.orders = fault_plan or FaultPlan()
        self.heard = []  # text of every phrase, empty if not understood
        self.spoken = []
        self.cancelled = 0  # syntheses that the client aborted
        self.contexts = []  # speech contexts as the client sent them
        self.sounds = []  # audio of every ended recognition turn
        self.opened = 0  # sockets since the start
        self._handlers = set()
        self._connections = set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get(RECOGNITION, self._recognition)
        app.router.add_get(SYNTHESIS, self._synthesis)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._runner.cleanup()

    def clear_records(self):
        """Clear all records."""
        for records in (self.heard, self.spoken, self.contexts, self.sounds):
            records.clear()

    @property
    def sockets(self):
        """Number of open sockets."""
        return len(self._handlers)

    def close_sockets(self):
        """Close all connections, as the service does after minutes without a request."""
        for connection in self._connections:
            connection.close(WSCloseCode.OK, "idle")

    async def _recognition(self, request):
        return await self._serve(request, self.orders.recognition, self._run_recognition)

    async def _synthesis(self, request):
        return await self._serve(request, self.orders.synthesis, self._run_synthesis)

    async def _serve(self, request, fault, conversation):
        if fault == "refuse":
            request.transport.abort()
            return web.Response()
        if fault in STATUS:
            return web.Response(status=STATUS[fault])
        if request.headers.get("Ocp-Apim-Subscription-Key") != self.key:
            return web.Response(status=401)
        socket = web.WebSocketResponse(autoclose=False, protocols=("USP",))
        await socket.prepare(request)
        self.opened += 1
        self._handlers.add(handler := asyncio.current_task())
        connection = AzureConnection(request, socket)
        self._connections.add(connection)
        try:
            await conversation(request, connection, _messages(socket))
            await connection.aclose()
        finally:
            self._handlers.discard(handler)
            self._connections.discard(connection)
            connection.abort()
        return socket

    async def _run_recognition(self, request, connection, messages):
        turn, contexts, ended = None, {}, ""
        async for message in messages:
            if message.path == "speech.context":
                contexts[message.request] = message.json()
                self.contexts.append(message.json())
            elif message.path != "audio" or message.request == ended:
                continue
            elif turn is None:
                context = hearing.SpeechContext(contexts.get(message.request, {}), request.query)
                turn = self._start_turn(connection, message, context)
            elif message.body:
                turn.feed(message.body)
            else:
                await self._end_turn(turn, connection, message.request)
                turn, ended = None, message.request
        if turn:
            turn.close()

    def _start_turn(self, connection, message, context):
        if not connection.begin(self.orders.recognition):
            return None

        def send(path, body):
            connection.send(wire.text(path, message.request, body))

        send("turn.start", {"context": {"serviceTag": secrets.token_hex(16)}})
        turn = hearing.RecognitionTurn(self._recognizer, self._vocabulary, context, send, self.heard.append)
        turn.feed(wire.mulaw_of(message.body))
        return turn

    async def _end_turn(self, turn, connection, request):
        await turn.end()
        self.sounds.append(turn.sound)
        end = {"Offset": round(len(turn.sound) / 8000 * hearing.TICKS_PER_SECOND)}
        connection.send(wire.text("speech.endDetected", request, end))
        last = {"RecognitionStatus": "EndOfDictation", "Duration": 0, **end}
        connection.send(wire.text("speech.phrase", request, last))
        connection.send(wire.text("turn.end", request, {}))

    async def _run_synthesis(self, request, connection, messages):
        speech = None
        async for message in messages:
            if message.path == "ssml" and connection.begin(self.orders.synthesis):
                speech = asyncio.create_task(self._send_audio(connection, message))
        if speech and not speech.done():
            self.cancelled += 1
            speech.cancel()

    async def _send_audio(self, connection, message):
        ssml, stream = message.body.decode(), secrets.token_hex(16)
        connection.send(wire.text("turn.start", message.request, {"context": {"serviceTag": stream}}))
        try:
            text, name, voice = speaking.parse_ssml(ssml, self._voice)
        except speaking.InvalidSsml as error:
            connection.close(WSCloseCode.INVALID_TEXT, str(error))
            return
        self.spoken.append(spoken := SynthesisRequest(text, name, ssml, bytearray()))
        response = {"context": {"serviceTag": stream}, "audio": {"type": "inline", "streamId": stream}}
        connection.send(wire.text("response", message.request, response))
        async for chunk in self._synthesizer.speak(text, voice):
            spoken.sound.extend(chunk)
            connection.send(wire.binary("audio", message.request, stream, chunk))
            await asyncio.sleep(len(chunk) / 8000 / PACE_FACTOR)
        connection.send(wire.binary("audio", message.request, stream, b""))
        connection.send(wire.text("turn.end", message.request, {}))


async def _messages(socket):
    """Yield the client's messages until it disconnects."""
    while True:
        frame = await socket.receive()
        if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return
        yield wire.parse(frame)
