"""Several gateways as processes of their own, on one PostgreSQL, behind one balancer; and callers who call them.

The flow asks for a code three times, tells another system each answer, and transfers. Callers enter their code whenever
they are asked, so one who is asked again answers again, and whatever was lost or done twice shows in the end.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web
from sqlalchemy import select

from tests.support.free_ports import free_ports
from tests.support.process_env import clean_environment
from tests.support.redis_server import RedisServer
from tests.support.tcp_balancer import TcpBalancer
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.caller.script import PressKeys, SimulatedCaller
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.store import api_keys, numbers
from vocelio.gateway.store.api_keys import NewApiKey
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, usage
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, tenants

ACCOUNT, TOKEN = SIMULATOR_ACCOUNT_SID, "the auth token of the cluster"
SECRET, PUBLIC_URL = "a-secret-of-the-processes", "https://gateway.example"
NUMBER = "+13072249663"
QUESTIONS = ("first", "second", "third")
START_TIMEOUT_SECONDS = 60


def codes_flow(crm):
    """Three questions; ``crm`` is the URL that hears the answers."""
    nodes = {"greet": {"type": "say", "text": "Welcome.", "exits": {"next": "first"}}}
    for name, then in zip(QUESTIONS, (*QUESTIONS[1:], "ring"), strict=True):
        nodes[name] = {
            "type": "collect",
            "prompt": f"Please enter your code for the {name} time.",
            "expect": "digits",
            "input": ["keys"],
            "min_digits": 4,
            "max_digits": 4,
            "timeout": 8,
            "retries": 3,
            "save_as": name,
            "exits": {"done": f"tell_{name}", "no_input": "bye", "no_match": "bye"},
        }
        nodes[f"tell_{name}"] = {
            "type": "request",
            "method": "POST",
            "url": f"{crm}/{name}",
            "json": {"call": "{{ call.id }}", "code": f"{{{{ {name} }}}}"},
            "exits": {"ok": then, "error": then, "timeout": then},
        }
    nodes["ring"] = {"type": "transfer", "department": "sales", "exits": {}}
    nodes["bye"] = {"type": "hangup", "text": "Goodbye."}
    voice = {"tier": "azure", "name": "en-US-AvaNeural"}
    return {
        "name": "Codes",
        "start": "greet",
        "voice": voice,
        "variables": dict.fromkeys(QUESTIONS, ""),
        "nodes": nodes,
    }


class FakeCrm:
    """The other system: counts what it is told."""

    def __init__(self):
        self.requests = Counter()  # (call, question)
        self.codes = {}
        self.keys = Counter()
        self.first_request = asyncio.Event()  # something was told
        self._runner = None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/{question}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _handle_request(self, request):
        body = await request.json()
        which = body["call"], request.match_info["question"]
        self.requests[which] += 1
        self.first_request.set()
        self.codes[which] = body["code"]
        self.keys[request.headers["Idempotency-Key"]] += 1
        return web.json_response({})


class GatewayProcess:
    """One process."""

    def __init__(self, port, environment, *options):
        self.port, self._environment, self._options = port, environment, options
        self.process = None

    @property
    def origin(self):
        """Where it serves, past the balancer."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self):
        """Start it, and wait until it answers."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.resilience.cluster_process",
            str(self.port),
            *self._options,
            env=self._environment,
        )
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await _is_serving(self.port):
                if self.process.returncode is not None:
                    raise RuntimeError(f"a gateway did not start: exit code {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def live_calls(self):
        """How many streams it has."""
        async with ClientSession() as session, session.get(f"{self.origin}/healthz") as answer:
            return (await answer.json())["live_calls"]

    async def kill(self):
        """As if the machine were gone."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        """As Cloud Run stops it: gives the seconds until it was gone."""
        began = asyncio.get_running_loop().time()
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()
        return asyncio.get_running_loop().time() - began


@dataclass
class GatewayCluster:
    """A running cluster. ``carrier`` calls it through the balancer."""

    members: list
    balancer: TcpBalancer
    crm: FakeCrm
    database: Database
    carrier: TwilioSimulator
    redis: RedisServer
    key: str  # of who may watch
    codes: dict = field(default_factory=dict)  # by call

    async def call(self, code, steps=10, **options):
        """One call, of somebody who enters that code whenever it is asked for."""
        report = await self.carrier.call(NUMBER, "+13105550142", SimulatedCaller([PressKeys(code)] * steps), **options)
        self.codes[report.call_sid] = code
        return report

    async def wait_until_busy(self):
        """The one process that has a call."""
        (busy,) = [member for member in self.members if await member.live_calls()]
        return busy

    async def rows(self, table, *where):
        """What the database has."""
        async with self.database.read() as connection:
            return (await connection.execute(select(table).where(*where))).all()

    async def wait_until_settled(self):
        """Until no call is live in the store."""
        async with asyncio.timeout(60):
            while await self.rows(calls, calls.c.ended_at.is_(None)):  # noqa: ASYNC110 (other processes end them)
                await asyncio.sleep(0.2)

    async def failed_calls(self, reports):
        """What is wrong with calls that have ended: a text for each."""
        kept = {row.id: row for row in await self.rows(calls)}
        spent = Counter()
        for row in await self.rows(usage):
            spent[row.call_id] += row.cost_micro_usd
        asked = Counter()
        for row in await self.rows(call_events, call_events.c.type == "node.left"):
            asked[row.call_id, row.node] += 1
        return [
            f"{report.call_sid}: {text}" for report in reports for text in self._check_call(report, kept, spent, asked)
        ]

    def _check_call(self, report, kept, spent, asked):
        call, row = report.call_sid, kept.get(report.call_sid)
        if row is None:
            yield "not kept at all"
            return
        yield from self._check_bill(report, row, spent[call])
        if (row.outcome, row.department) != ("transferred", "sales"):
            yield f"outcome {row.outcome!r}, department {row.department!r}, {report.ending}, {report.errors}"
            return
        if len(report.dial_results) != 1:
            yield f"dialed {len(report.dial_results)} times"
        for question in QUESTIONS:
            times, code = self.crm.requests[call, question], self.crm.codes.get((call, question))
            if times > 1 or (times == 0 and len(report.streams) == 1):  # one that broke off may not have been sent
                yield f"{question} told {times} times"
            if code not in (None, self.codes[call]):
                yield f"{question} was answered {self.codes[call]}, told {code}"
            if asked[call, question] != 1:
                yield f"{question} was left {asked[call, question]} times"

    def _check_bill(self, report, row, spent):
        """From the first stream's begin to the last one's end, what passes between them included.

        The caller's clock is not the gateway's: beside other calls on two cores it begins up to two seconds sooner. A
        stream that is not counted lasts longer.
        """
        if spent != row.cost_micro_usd:
            yield f"costs {row.cost_micro_usd}, by segments {spent}"
        streamed = report.streams[-1].closed_at - report.streams[0].opened_at if report.streams else 0.0
        if report.streams and not -3.0 < row.billed_microseconds / 1e6 - streamed < 0.5:
            yield f"billed {row.billed_microseconds / 1e6:.1f} s of {streamed:.1f} s"


@contextlib.asynccontextmanager
async def running_cluster(postgres, count=3, *options, drain=0, **carrier_options):
    """That many processes on a fresh database. ``options`` are the server's."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(postgres.temporary_database())
        crm = await stack.enter_async_context(FakeCrm())
        database = Database(url)
        stack.push_async_callback(database.aclose)
        await database.migrate()
        key = await _seed_database(database, crm.url)
        redis = stack.enter_context(RedisServer())
        environment = _environment(url, redis.url)
        members = [GatewayProcess(port, environment, str(drain), *options) for port in free_ports(count)]
        balancer = await stack.enter_async_context(TcpBalancer([member.port for member in members]))
        stack.push_async_callback(_stop_all, members)
        await asyncio.gather(*(member.start() for member in members))
        origin = f"http://127.0.0.1:{balancer.port}"
        carrier = await stack.enter_async_context(
            TwilioSimulator(origin, PUBLIC_URL, ACCOUNT, TOKEN, **carrier_options)
        )
        yield GatewayCluster(members, balancer, crm, database, carrier, redis, key)


async def _stop_all(members):
    for member in members:
        if member.process is not None and member.process.returncode is None:
            await member.kill()


async def _seed_database(database, crm):
    actor = Actor("tests", "admin", "harbour", "", wall_clock())
    await tenants.create_tenant(
        database, actor, Tenant(id="harbour", name="Harbour Tools", max_transfers_per_hour=100_000)
    )
    await departments.put_department(database, actor, "sales", Department(("+13105550111",)))
    await assign_flow(database, actor, NUMBER, "codes", codes_flow(crm))
    return (await api_keys.create_key(database, actor, NewApiKey("viewer"))).secret


async def assign_flow(database, actor, number, name, document):
    """The number leads to the flow of that name."""
    await drafts.put_flow(database, actor, name, json.dumps(document).encode(), None)
    await promotion.promote_flow(database, actor, name, "")
    await numbers.create_number(database, actor, NewNumber(number))
    await numbers.assign_number(database, actor, number, name)


def _environment(url, redis_url):
    return clean_environment() | {
        "VOCELIO_DATABASE_URL": url,
        "VOCELIO_PUBLIC_URL": PUBLIC_URL,
        "VOCELIO_REDIS_URL": redis_url,
        "VOCELIO_SECRET_KEYS": SECRET,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


async def _is_serving(port):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return b" 200 " in await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
