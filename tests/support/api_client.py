"""The API's routes as a client meets them, without a server: one request, one answer."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.applications import Starlette

from tests.support.fake_synthesizer import FakeSynthesizer
from tests.support.running_gateway import RecordingBus
from vocelio.gateway.api.framework.authentication import RateLimits
from vocelio.gateway.api.routes import create_routes
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.calls.control.commands import CommandResult
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.prompts.cache import PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory
from vocelio.gateway.store.recordings import DatabaseRecordingCatalog
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner
from vocelio.gateway.twilio.rest_client import TwilioClient

PUBLIC_URL = "https://voice.example"
PLATFORM_ACCOUNT, PLATFORM_TOKEN = "AC" + "9" * 32, "the platform's auth token"
START = 1_700_000_000_000_000  # microseconds UTC
UNLIMITED_RATE = RateLimits(
    requests_per_second=1e6, request_burst=1_000_000, failures_per_second=1e6, failure_burst=1_000_000
)


@dataclass
class ApiAnswer:
    """What came back. Header names are in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class ApiTestClient:
    """Asks with one key, for one tenant, from one address."""

    app: object
    key: str = ""
    tenant: str = ""
    address: str = "10.0.0.1"
    headers: dict = field(default_factory=dict)

    async def request(self, method, path, body=None, media="application/json", pieces=None, **headers):
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
        return ApiAnswer(first["status"], {k.decode(): v.decode() for k, v in first["headers"]}, body)


class FakeLiveCall:
    """A live call as the registry sees it: takes down what it is told."""

    def __init__(self, tenant):
        self.commands, self.tenant, self.account, self.generation = [], tenant, "AC" + "0" * 32, 1

    def heartbeat(self):
        """See LiveCall."""

    def hand_off(self, *, immediately=False):
        """See LiveCall."""

    def on_superseded(self):
        """See LiveCall."""

    def on_hangup(self):
        """See LiveCall."""

    def listen_in(self, sink):
        """See LiveCall."""
        return lambda: None

    def check_command(self, command, value):
        """See LiveCall."""
        return CommandResult("unknown_node" if (command, value) == ("jump", "nowhere") else "accepted", "greet")

    def execute_command(self, command, value):
        """See LiveCall."""
        self.commands.append((command, value))
        return self.check_command(command, value)


class ApiEnv:
    """The routes on a database, a clock that stands still until it is moved, and keys as they are asked for."""

    def __init__(self, database, limits=UNLIMITED_RATE, twilio="", tokens=None, storage=None, renders=True):
        """``twilio`` is where Twilio's API is emulated."""
        self.database, self.now, self.bus = database, START, RecordingBus()
        site = InMemoryDirectory([])
        self.storage = storage or MemoryStorage(lambda: self.now)
        services = CallServices(
            site,
            single_provider(ScriptedRecognizer(()), ToneSynthesizer()),
            self.bus,
            HttpClient(),
            InMemoryCallStore(),
            lambda: self.now,
            RecordingService(self.storage, DatabaseRecordingCatalog(database), lambda: self.now),
        )
        self.calls = build_call_components(services)
        vault, settings = (
            SecretCipher(["the tests' key"]),
            Settings(PUBLIC_URL, tokens or {PLATFORM_ACCOUNT: PLATFORM_TOKEN}),
        )
        rest = TwilioClient(twilio, timeout_seconds=2.0, retry_delays_seconds=(0.01,))
        self.provisioner = NumberProvisioner(
            ProvisioningContext(settings, database, vault, self.bus, lambda: self.now, rest)
        )
        registrar = self.provisioner if twilio else None
        self.synthesizer = FakeSynthesizer()
        shelf = PromptCache(self.storage, database, lambda: self.now)
        self.renderer = PromptRenderWorker(
            database, shelf, PromptManifests(lambda voice: voice), self.synthesizer, lambda: self.now
        )
        renderer = self.renderer if renders else None
        made = create_routes(database, vault, self.calls, lambda: self.now, limits, registrar, renderer)
        self.app = Starlette(routes=made)

    async def platform_client(self, tenant=""):
        """A client with a platform key of its own."""
        return ApiTestClient(
            self.app, await api_keys.create_platform_key(self.database, "for a test", self.now), tenant
        )

    async def create_client(self, tenant, role="admin"):
        """A client with a tenant's key."""
        platform = await self.platform_client(tenant)
        made = await platform.request("POST", "/v1/keys", {"role": role})
        assert made.status == 201, made.body
        return ApiTestClient(self.app, made.json["secret"])

    def add_live_call(self, call, assignment):
        """Put a call on the line."""
        self.calls.registry.live_calls[call] = telephone = FakeLiveCall(assignment.tenant.id)
        return telephone


async def create_tenant(api, name, **settings):
    """Make a tenant: its admin."""
    platform = await api.platform_client()
    made = await platform.request("POST", "/v1/tenants", {"id": name, "name": name.title(), **settings})
    assert made.status == 201, made.body
    return await api.create_client(name)
