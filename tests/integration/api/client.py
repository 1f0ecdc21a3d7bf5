"""The API's routes as a client meets them, without a server: one request, one answer."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.applications import Starlette

from tests.gateway import CollectingBus
from tests.speaker import Speaker
from vocelio.gateway.api.framework.rate_limit import Limits
from vocelio.gateway.api.routes import routes
from vocelio.gateway.calls.control.commands import Reaction
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.prompts.cache import Shelf
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.recordings.service import Recordings
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite
from vocelio.gateway.store.recordings import DatabaseCatalogue
from vocelio.gateway.twilio.provisioning.context import Desk
from vocelio.gateway.twilio.provisioning.worker import Registrar
from vocelio.gateway.twilio.rest_client import Rest

PUBLIC_URL = "https://voice.example"
PLATFORM, PLATFORM_TOKEN = "AC" + "9" * 32, "the platform's auth token"
START = 1_700_000_000_000_000  # microseconds UTC
GENEROUS = Limits(requests=1e6, at_once=1_000_000, failures=1e6, failures_at_once=1_000_000)


@dataclass
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class Client:
    """Asks with one key, for one tenant, from one address."""

    app: object
    key: str = ""
    tenant: str = ""
    address: str = "10.0.0.1"
    headers: dict = field(default_factory=dict)

    async def ask(self, method, path, body=None, media="application/json", pieces=None, **headers):
        """An answer. ``body`` is bytes or goes out as JSON; ``pieces`` are a body without a Content-Length."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None or pieces is not None:
            sent.setdefault("Content-Type", media)
        if self.key:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        if self.tenant:
            sent.setdefault("Vocelio-Tenant", self.tenant)
        return await self._send(method, path, pieces if pieces is not None else [raw], sent)

    async def _send(self, method, path, pieces, headers):
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": (self.address, 50_000),
            "server": ("localhost", 80),
            "scheme": "http",
        }
        waiting, sent = list(pieces) or [b""], []

        async def receive():
            if not waiting:
                await asyncio.Event().wait()  # the client stays until it has its answer
            piece = waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        first, *rest = sent
        body = b"".join(message.get("body", b"") for message in rest)
        return Answer(first["status"], {k.decode(): v.decode() for k, v in first["headers"]}, body)


class Telephone:
    """A live call as the registry sees it: takes down what it is told."""

    def __init__(self, tenant):
        self.told, self.tenant, self.account, self.generation = [], tenant, "AC" + "0" * 32, 1

    def beat(self):
        """See LiveCall."""

    def hand_over(self, *, now=False):
        """See LiveCall."""

    def supersede(self):
        """See LiveCall."""

    def caller_left(self):
        """See LiveCall."""

    def listen_in(self, sink):
        """See LiveCall."""
        return lambda: None

    def could(self, command, value):
        """See LiveCall."""
        return Reaction("unknown_node" if (command, value) == ("jump", "nowhere") else "accepted", "greet")

    def commanded(self, command, value):
        """See LiveCall."""
        self.told.append((command, value))
        return self.could(command, value)


class Api:
    """The routes on a database, a clock that stands still until it is moved, and keys as they are asked for."""

    def __init__(self, database, limits=GENEROUS, twilio="", tokens=None, storage=None, renders=True):
        """``twilio`` is where Twilio's API is emulated."""
        self.database, self.now, self.bus = database, START, CollectingBus()
        site = MemorySite([])
        self.storage = storage or MemoryStorage(lambda: self.now)
        services = Services(
            site,
            only(ScriptedRecognizer(()), ToneSynthesizer()),
            self.bus,
            Fetcher(),
            MemoryJournal(),
            lambda: self.now,
            Recordings(self.storage, DatabaseCatalogue(database), lambda: self.now),
        )
        self.calls = Calls(services)
        vault, settings = Vault(["the tests' key"]), Settings(PUBLIC_URL, tokens or {PLATFORM: PLATFORM_TOKEN})
        rest = Rest(twilio, seconds=2.0, pauses=(0.01,))
        self.registrar = Registrar(Desk(settings, database, vault, self.bus, lambda: self.now, rest))
        registrar = self.registrar if twilio else None
        self.speaker = Speaker()
        shelf = Shelf(self.storage, database, lambda: self.now)
        self.renderer = Renderer(database, shelf, Plans(lambda voice: voice), self.speaker, lambda: self.now)
        renderer = self.renderer if renders else None
        made = routes(database, vault, self.calls, lambda: self.now, limits, registrar, renderer)
        self.app = Starlette(routes=made)

    async def platform(self, tenant=""):
        """A client with a platform key of its own."""
        return Client(self.app, await api_keys.first(self.database, "for a test", self.now), tenant)

    async def client(self, tenant, role="admin"):
        """A client with a tenant's key."""
        platform = await self.platform(tenant)
        made = await platform.ask("POST", "/v1/keys", {"role": role})
        assert made.status == 201, made.body
        return Client(self.app, made.json["secret"])

    def live(self, call, assignment):
        """Put a call on the line."""
        self.calls.live[call] = telephone = Telephone(assignment.tenant.id)
        return telephone


async def tenant(api, name, **settings):
    """Make a tenant: its admin."""
    platform = await api.platform()
    made = await platform.ask("POST", "/v1/tenants", {"id": name, "name": name.title(), **settings})
    assert made.status == 201, made.body
    return await api.client(name)
