"""Scripted gateway for tests of the simulator, written from the protocol: webhooks by table, media by script.

It checks every signature with Twilio's own validator and records all requests.
"""

import asyncio
import base64
import json
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from twilio.request_validator import RequestValidator

from vocelio.codecs import mulaw

ACCOUNT = "AC" + "0" * 32
TOKEN = "the-auth-token"
PUBLIC = "https://gateway.example"
STREAM = '<Connect><Stream url="wss://gateway.example/media"><Parameter name="token" value="t1"/></Stream></Connect>'


def tone(seconds: float) -> bytes:
    """Return a loud 400 Hz tone in mu-law."""
    samples = [round(8000 * math.sin(math.tau * 400 * n / 8000)) for n in range(round(seconds * 8000))]
    return mulaw.encode(struct.pack(f"<{len(samples)}h", *samples))


def is_loud(payload: str) -> bool:
    """Return whether a frame contains voice."""
    return base64.b64decode(payload).count(0xFF) < 80


class ScriptedMedia:
    """One media socket, driven by a script."""

    def __init__(self, websocket: WebSocket, peer: "ScriptedGateway"):
        self.websocket = websocket
        self.peer = peer
        self.messages: list[dict] = []
        self.sid = ""

    async def start(self) -> None:
        await self.websocket.accept()
        await self.wait_for("start")
        self.sid = self.messages[-1]["streamSid"]

    async def receive(self) -> dict:
        message = json.loads(await self.websocket.receive_text())
        self.messages.append(message)
        return message

    async def wait_for(self, event: str, matching: Callable[[dict], bool] = lambda message: True) -> dict:
        while True:
            message = await self.receive()
            if message["event"] == event and matching(message):
                return message

    async def wait_for_speech(self) -> None:
        await self.wait_for("media", lambda message: is_loud(message["media"]["payload"]))

    async def wait_for_silence(self) -> None:
        """Wait until the caller has spoken and been silent for five frames (100 ms)."""
        await self.wait_for_speech()
        silent_frames = 0
        while silent_frames < 5:
            message = await self.receive()
            if message["event"] == "media":
                silent_frames = 0 if is_loud(message["media"]["payload"]) else silent_frames + 1

    async def wait_for_close(self) -> None:
        try:
            while True:
                await self.receive()
        except WebSocketDisconnect:
            return

    async def send(self, event: str, **body) -> None:
        await self.websocket.send_text(json.dumps({"event": event, "streamSid": self.sid, **body}))

    async def play(self, audio: bytes, mark: str | None = None) -> None:
        await self.send("media", media={"payload": base64.b64encode(audio).decode()})
        if mark:
            await self.send("mark", mark={"name": mark})

    async def wait_for_mark(self, name: str) -> float:
        await self.wait_for("mark", lambda message: message["mark"]["name"] == name)
        return asyncio.get_running_loop().time()

    async def close(self, code: int = 1000) -> None:
        await self.websocket.close(code)

    def abort(self) -> None:
        """Reset the connection, as a killed process does."""
        for connection in list(self.peer.server.server_state.connections):
            if connection.transport.get_extra_info("peername")[1] == self.websocket.client.port:
                connection.transport.abort()


Script = Callable[[ScriptedMedia], Awaitable[None]]


class ScriptedGateway:
    """Server with ``pages`` by path (TwiML verbs or a response) and one script per media socket."""

    def __init__(self, pages: dict[str, str | Response], *scripts: Script):
        self.pages = pages
        self.scripts = list(scripts)
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.medias: list[ScriptedMedia] = []
        self.forged: list[str] = []
        self.validator = RequestValidator(TOKEN)
        self.origin = ""
        app = Starlette(
            routes=[
                Route("/{path:path}", self.webhook, methods=["POST"]),
                WebSocketRoute("/media", self.media),
                WebSocketRoute("/echo", self.media),
            ]
        )
        self.server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", log_config=None, ws="websockets-sansio", access_log=False)
        )

    async def webhook(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        path = request.url.path
        target = PUBLIC + path + (f"?{request.url.query}" if request.url.query else "")
        if not self.validator.validate(target, form, request.headers["X-Twilio-Signature"]):
            self.forged.append(path)
        self.posts.append((path, form))
        page = self.pages.get(path, Response(status_code=204))
        if isinstance(page, Response):
            return page
        return Response(f"<Response>{page}</Response>", media_type="text/xml")

    async def media(self, websocket: WebSocket) -> None:
        url = f"wss://gateway.example{websocket.url.path}"
        if not self.validator.validate(url, {}, websocket.headers["X-Twilio-Signature"]):
            self.forged.append(url)
        media = ScriptedMedia(websocket, self)
        self.medias.append(media)
        try:
            await media.start()
            await self.scripts.pop(0)(media)
        except WebSocketDisconnect:
            return

    def form_of(self, path: str) -> dict[str, str]:
        """Return the form last posted to ``path``."""
        return [form for posted, form in self.posts if posted == path][-1]

    @property
    def requested_paths(self) -> list[str]:
        return [path for path, _ in self.posts]


@asynccontextmanager
async def serve(peer: ScriptedGateway):
    """Serve on a free port; early connections wait in the listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(peer.server.serve(sockets=[listener]))
        try:
            yield peer
        finally:
            peer.server.should_exit = True
            await task
    assert peer.forged == []
