"""The servers under load, each in a process of its own: the gateway, and a bare Starlette echo to compare with.

python -m benchmarks.servers bare|echo|listening|stored DESCRIPTOR
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

from benchmarks.account import ACCOUNT, NUMBER, TOKEN
from vocelio.engine.validation.loader import load
from vocelio.gateway.app import build
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.events import EventBus
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.server.server import config
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite
from vocelio.gateway.store.tenants import tenants

ECHO = {"name": "Echo", "start": "echo", "nodes": {"echo": {"type": "echo", "seconds": 3600}}}

LISTENING = {
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
"""Everything that is said is not understood and asked again: speech both ways, all the time."""


async def _bare(line: WebSocket) -> None:
    """What any gateway on this server must cost at least: each frame back as it came, nothing read of it."""
    await line.accept()
    try:
        for _ in ("connected", "start"):
            await line.receive_text()
        while True:
            await line.send_text(await line.receive_text())
    except WebSocketDisconnect:
        return


def site(flow: dict[str, Any]) -> MemorySite:
    """Where the number leads to the flow."""
    version = load(msgspec.json.encode(flow))
    return MemorySite(
        [Assignment(number=NUMBER, tenant=Tenant(id="bench", name="Bench"), flow="flow", version=version)]
    )


def application(kind: str, port: int) -> Starlette:
    """The application under load."""
    if kind == "bare":
        return Starlette(routes=[WebSocketRoute("/twilio/media/{account}", _bare)])
    journal = _journal() if kind == "stored" else MemoryJournal()
    speech = only(ScriptedRecognizer(), ToneSynthesizer())
    services = Services(site(ECHO if kind == "echo" else LISTENING), speech, EventBus(), Fetcher(), journal, wall_clock)
    return build(Settings(f"http://127.0.0.1:{port}", {ACCOUNT: TOKEN}), Calls(services))


def _journal() -> DatabaseJournal:
    return DatabaseJournal(Database(asyncio.run(_database())), Vault(["a key of the bench"]))


async def _database() -> str:
    """A fresh one with the tenant: its URL. It is in the temporary folder, and goes with it."""
    url = f"sqlite+aiosqlite:///{mkdtemp(prefix='vocelio-bench-')}/bench.db"
    database = Database(url)
    await database.migrate()
    await tenants.create(database, Actor("bench", "platform", "", "", wall_clock()), Tenant(id="bench", name="Bench"))
    await database.aclose()
    return url


if __name__ == "__main__":
    place = socket.socket(fileno=int(sys.argv[2]))  # bound
    uvicorn.Server(config(application(sys.argv[1], place.getsockname()[1]))).run([place])
