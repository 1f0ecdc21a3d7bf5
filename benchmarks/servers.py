"""Servers under load, each a process of its own: the gateway, and a bare Starlette echo as the baseline.

``python -m benchmarks.servers bare|echo|listening|database DESCRIPTOR`` serves on an inherited, bound socket.
"""

import asyncio
import socket
import sys
from tempfile import mkdtemp
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.account import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.app import create_app
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.events import EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.server.server import uvicorn_config
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory
from vocelio.gateway.store.tenants import tenants

ECHO_FLOW = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 3600}}}

LISTENING_FLOW = {
    "name": "Listening",
    "start": "ask",
    "nodes": {
        "ask": {
            "type": "collect",
            "prompt": "Which department would you like?",
            "expect": "choice",
            "choices": {"sales": {"phrases": ["sales"]}},
            "timeout": 60,
            "retries": 10,
            "exits": {"no_match": "ask", "no_input": "ask", "sales": "ask"},
        }
    },
}
"""No answer is understood, so the question is repeated: speech in both directions all the time."""


async def _bare_echo(websocket: WebSocket) -> None:
    """Return every frame unparsed: the least that any gateway on this server can cost."""
    await websocket.accept()
    try:
        for _ in ("connected", "start"):
            await websocket.receive_text()
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


def make_directory(flow: dict[str, Any]) -> InMemoryDirectory:
    """Create a directory in which the number leads to the flow."""
    version = load_flow(msgspec.json.encode(flow))
    return InMemoryDirectory(
        [CallConfig(number=NUMBER, tenant=Tenant(id="bench", name="Bench"), flow="flow", version=version)]
    )


def create_server_app(kind: str, port: int) -> Starlette:
    """Create the application of that kind."""
    if kind == "bare":
        return Starlette(routes=[WebSocketRoute("/twilio/media/{account}", _bare_echo)])
    call_store = _call_store() if kind == "database" else InMemoryCallStore()
    speech = single_provider(ScriptedRecognizer(), ToneSynthesizer())
    services = CallServices(
        make_directory(ECHO_FLOW if kind == "echo" else LISTENING_FLOW),
        speech,
        EventBus(),
        HttpClient(),
        call_store,
        wall_clock,
    )
    return create_app(Settings(f"http://127.0.0.1:{port}", {ACCOUNT_SID: AUTH_TOKEN}), build_call_components(services))


def _call_store() -> WriteBehindCallStore:
    return WriteBehindCallStore(Database(asyncio.run(_create_database())), SecretCipher(["benchmark-key"]))


async def _create_database() -> str:
    """Create a database with the tenant in the temporary directory, which the parent removes; return its URL."""
    url = f"sqlite+aiosqlite:///{mkdtemp(prefix='vocelio-bench-')}/bench.db"
    database = Database(url)
    await database.migrate()
    await tenants.create_tenant(
        database, Actor("bench", "platform", "", "", wall_clock()), Tenant(id="bench", name="Bench")
    )
    await database.aclose()
    return url


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[2]))  # bound by the parent
    uvicorn.Server(uvicorn_config(create_server_app(sys.argv[1], listener.getsockname()[1]))).run([listener])
