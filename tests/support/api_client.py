"""Client of the API's routes as an ASGI application, without a server."""

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
    """Response of the API. Header names are in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        """The decoded body."""
        return json.loads(self.body)


@dataclass
class ApiTestClient:
    """Client with one API key, tenant and address."""

    app: object
    key: str = ""
    tenant: str = ""
    address: str = "10.0.0.1"
    headers: dict = field(default_factory=dict)

    async def request(self, method, path, body=None, media="application/json", pieces=None, **headers):
        """Send a request. ``body`` is bytes or is sent as JSON; ``pieces`` are a body without a Content-Length."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        all_headers = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None or pieces is not None:
            all_headers.setdefault("Content-Type", media)
        if self.key:
            all_headers.setdefault("Authorization", f"Bearer {self.key}")
        if self.tenant:
            all_headers.setdefault("Vocelio-Tenant", self.tenant)
        return await self._send(method, path, pieces if pieces is not None else [raw], all_headers)

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
        pending, sent = list(pieces) or [b""], []

        async def receive():
            if not pending:
                await asyncio.Event().wait()  # the client stays connected until the response
            piece = pending.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pending)}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        first, *rest = sent
        body = b"".join(message.get("body", b"") for message in rest)
        return ApiAnswer(first["status"], {k.decode(): v.decode() for k, v in first["headers"]}, body)


class FakeLiveCall:
    """A live call in the registry that records its commands."""

    def __init__(self, tenant):
        self.commands, self.tenant, self.account, self.generation = [], tenant, "AC" + "0" * 32, 1

    def heartbeat(self):
        pass

    def hand_off(self, *, immediately=False):
        pass

    def on_superseded(self):
        pass

    def on_hangup(self):
        pass

    def listen_in(self, sink):
        return lambda: None

    def check_command(self, command, value):
        return CommandResult("unknown_node" if (command, value) == ("jump", "nowhere") else "accepted", "greet")

    def execute_command(self, command, value):
        self.commands.append((command, value))
        return self.check_command(command, value)


class ApiEnv:
    """The API on a database, with a manual clock and API keys on demand."""

    def __init__(self, database, limits=UNLIMITED_RATE, twilio="", tokens=None, storage=None, renders=True):
        """``twilio`` is the origin of an emulated Twilio REST API."""
        self.database, self.now, self.bus = database, START, RecordingBus()
        directory = InMemoryDirectory([])
        self.storage = storage or MemoryStorage(lambda: self.now)
        services = CallServices(
            directory,
            single_provider(ScriptedRecognizer(()), ToneSynthesizer()),
            self.bus,
            HttpClient(),
            InMemoryCallStore(),
            lambda: self.now,
            RecordingService(self.storage, DatabaseRecordingCatalog(database), lambda: self.now),
        )
        self.calls = build_call_components(services)
        cipher = SecretCipher(["the tests' key"])
        settings = Settings(PUBLIC_URL, tokens or {PLATFORM_ACCOUNT: PLATFORM_TOKEN})
        twilio_client = TwilioClient(twilio, timeout_seconds=2.0, retry_delays_seconds=(0.01,))
        self.provisioner = NumberProvisioner(
            ProvisioningContext(settings, database, cipher, self.bus, lambda: self.now, twilio_client)
        )
        provisioner = self.provisioner if twilio else None
        self.synthesizer = FakeSynthesizer()
        cache = PromptCache(self.storage, database, lambda: self.now)
        self.renderer = PromptRenderWorker(
            database, cache, PromptManifests(lambda voice: voice), self.synthesizer, lambda: self.now
        )
        renderer = self.renderer if renders else None
        routes = create_routes(database, cipher, self.calls, lambda: self.now, limits, provisioner, renderer)
        self.app = Starlette(routes=routes)

    async def platform_client(self, tenant=""):
        """Create a client with a new platform key."""
        return ApiTestClient(
            self.app, await api_keys.create_platform_key(self.database, "for a test", self.now), tenant
        )

    async def create_client(self, tenant, role="admin"):
        """Create a client with a new key of the tenant."""
        platform = await self.platform_client(tenant)
        response = await platform.request("POST", "/v1/keys", {"role": role})
        assert response.status == 201, response.body
        return ApiTestClient(self.app, response.json["secret"])

    def add_live_call(self, call, call_config):
        """Register a live call."""
        self.calls.registry.live_calls[call] = live_call = FakeLiveCall(call_config.tenant.id)
        return live_call


async def create_tenant(api, name, **settings):
    """Create a tenant; return a client with its admin key."""
    platform = await api.platform_client()
    response = await platform.request("POST", "/v1/tenants", {"id": name, "name": name.title(), **settings})
    assert response.status == 201, response.body
    return await api.create_client(name)
