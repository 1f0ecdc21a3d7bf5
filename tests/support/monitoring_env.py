"""Gateway processes with monitors on one database, with or without Redis, and scripted calls."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession

from tests.support.running_gateway import running_gateway
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.api.framework.authentication import RateLimits
from vocelio.gateway.api.routes import create_routes
from vocelio.gateway.api.websockets.endpoints import MonitoringDependencies
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings
from vocelio.gateway.calls.background.process_heartbeat import ProcessHeartbeat
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.events.redis.pubsub import RedisPubSub
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.monitors.key_revocation import KeyRevocationWatcher
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.api_keys import NewApiKey
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

HEARTBEAT_SECONDS, POLL_INTERVAL_SECONDS = 0.4, 0.2  # seconds: of the line, and between two looks into the store
SECRET, ORIGIN = "a secret of the processes", "https://gateway.example"
ACCOUNT = "AC" + "5" * 32
UNLIMITED_RATE = RateLimits(
    requests_per_second=1e6, request_burst=1_000_000, failures_per_second=1e6, failure_burst=1_000_000
)
FLOW = {
    "name": "A flow",
    "start": "greet",
    "nodes": {
        "greet": {"type": "say", "text": "Good day.", "exits": {"next": "bye"}},
        "bye": {"type": "hangup"},
    },
}
VERSION = load_flow(json.dumps(FLOW).encode())


@dataclass
class GatewayMember:
    """One gateway process; ``origin`` is its base URL."""

    origin: str
    calls: object
    simulator: object
    database: Database
    monitors: MonitorService

    async def request(self, method, path, key, body=None, **headers):
        """Send a request; return status and JSON."""
        headers = {"Authorization": f"Bearer {key}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        async with (
            ClientSession() as session,
            session.request(method, f"{self.origin}{path}", json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def running_member(
    url,
    redis_url="",
    *,
    heartbeat=None,
    guard=None,
    poll_interval=POLL_INTERVAL_SECONDS,
    pubsub_heartbeat=HEARTBEAT_SECONDS,
):
    """Run a gateway with its API."""
    database, vault = Database(url), SecretCipher([SECRET])
    made = {}

    def beside(calls):
        keeper = KeyRevocationWatcher(database, wall_clock, POLL_INTERVAL_SECONDS, **(guard or {}))
        monitors = made["monitors"] = MonitorService(calls.services.bus, database, wall_clock, keeper, poll_interval)
        watching = MonitoringDependencies(monitors, (SECRET,), ORIGIN, heartbeat or HeartbeatSettings())
        return create_routes(database, vault, calls, wall_clock, UNLIMITED_RATE, monitoring=watching), [
            monitors,
            ProcessHeartbeat(database, calls),
        ]

    parts = {
        "directory": DatabaseDirectory(database, vault, wall_clock),
        "call_store": WriteBehindCallStore(database, vault),
    }
    line = RedisPubSub(redis_url, pubsub_heartbeat) if redis_url else None
    try:
        async with running_gateway(
            None, ScriptedRecognizer(), ToneSynthesizer(), pubsub=line, extra_routes_and_workers=beside, **parts
        ) as running:
            yield GatewayMember(running.origin, running.calls, running.simulator, database, made["monitors"])
    finally:
        await database.aclose()


async def create_tenant_with_keys(database, tenant, *roles):
    """Create a tenant and a key for each role."""
    await tenants.create_tenant(database, _actor(""), Tenant(id=tenant, name=tenant.title()))
    return [(await api_keys.create_key(database, _actor(tenant), NewApiKey(role))).secret for role in roles]


async def revoke_key(database, tenant, secret):
    """Revoke a key."""
    await api_keys.revoke_key(database, _actor(tenant), secret.split("_")[1])


def _actor(tenant):
    return Actor("tests", "platform", tenant, "", wall_clock())


class ScriptedCall:
    """A call without a stream, whose events the test publishes."""

    def __init__(self, member, place=1, tenant="harbour", flow="front-desk", number="+13072249663"):
        assignment = CallConfig(number=number, tenant=Tenant(id=tenant, name=tenant), flow=flow, version=VERSION)
        self.calls = member.calls
        self.record = CallRecord.create(
            f"CA{place:032x}", ACCOUNT, "+13105550142", assignment, wall_clock(), generation=1
        )
        self.record.meter.start_stream(wall_clock())

    @property
    def id(self):
        """The call's SID."""
        return self.record.stored.id

    def start(self):
        """Start the call."""
        self._save()
        where = self.record.config
        self.calls.publisher.publish(
            self.record.stored, "call.started", caller="+13105550142", number=where.number, flow=where.flow
        )
        return self

    def enter_node(self, node):
        """Enter a node."""
        self.calls.publisher.publish(self.record.stored, "node.entered", node=node, type="say")
        self._save()

    def end(self, outcome="completed"):
        """End the call."""
        self.record.meter.advance(wall_clock())
        self.calls.lifecycle.end_call(self.record, outcome)

    def _save(self):
        self.record.meter.advance(wall_clock())
        self.calls.repository.save(self.record)


async def wait_until_subscribed(redis, where, count=1):
    """Wait until that many processes have subscribed the channel."""
    async with asyncio.timeout(10):
        while int(redis.command("PUBSUB", "NUMSUB", where).rpartition(b":")[2]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
