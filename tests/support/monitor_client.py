"""A monitor client that keeps a view of all calls, which is compared with the database."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientSession, WSMsgType
from sqlalchemy import select

from vocelio.gateway.clock import from_rfc3339, to_rfc3339, wall_clock
from vocelio.gateway.events import TRANSIENT_TYPES
from vocelio.gateway.store.calls.live import current_node
from vocelio.gateway.store.db.schema import calls as call_rows

MAX_SHOWN_AGE_US = 40_000_000  # microseconds since its end that a call is in every picture
MAX_KEPT_AGE_US = 120_000_000  # and that it stays in a screen's
COMPARED_FIELDS = ("status", "outcome", "department", "node", "cost_micro_usd", "generation", "flow", "number")


class MonitorClient:
    """Keeps call views as docs/monitoring.md describes."""

    def __init__(self, socket):
        self.socket, self.call_views, self.events, self.messages, self.texts = socket, {}, [], [], []
        self.gaps, self.close_code, self.snapshots = 0, None, 0
        self.answers_heartbeats = True  # beats, as who is alive does
        self._now = 0  # of the newest message that has a time
        self._changed = asyncio.Event()

    async def run(self):
        """Process messages until the socket is closed."""
        async for message in self.socket:
            if message.type is WSMsgType.TEXT:
                self.texts.append(message.data)
                self.apply_message(json.loads(message.data))
                self._changed.set()
                if self.answers_heartbeats and self.messages[-1]["message"] == "heartbeat":
                    with suppress(ConnectionError):
                        await self.socket.send_str("heartbeat")
        self.close_code = self.socket.close_code
        self._changed.set()

    def apply_message(self, message):
        """Process one message."""
        self.messages.append(message)
        instant = message.get("occurred_at") or message.get("taken_at")
        self._now = from_rfc3339(instant) if instant else self._now
        match message["message"]:
            case "snapshot":
                if message["first"]:
                    self.call_views = {}
                self.snapshots += message["last"]
                self.call_views |= {call["call"]: call for call in message["calls"]}
            case "changes":
                for call in message["calls"]:
                    self.call_views.setdefault(call["call"], {}).update(call)
            case "event":
                self.events.append(message)
                self._apply_event(message)
            case "gap":
                self.gaps += 1
            case "heartbeat":
                oldest = to_rfc3339(self._now - MAX_KEPT_AGE_US)
                self.call_views = {
                    name: call for name, call in self.call_views.items() if (call.get("ended_at") or oldest) >= oldest
                }

    def _apply_event(self, event):
        new = {"generation": 0, "sequence": 0, "status": "live", "cost_micro_usd": 0, "playout_gap_ms": 0}
        call = self.call_views.setdefault(event["call"], new)
        place, known = (event["generation"], event["sequence"]), (call["generation"], call["sequence"])
        if place < known or (place == known and event["type"] not in TRANSIENT_TYPES):
            return
        call |= {"generation": event["generation"], "sequence": event["sequence"]}
        data = event["data"]
        match event["type"]:
            case "call.started":
                call |= {"flow": data["flow"], "number": data["number"], "status": "live", "outcome": ""}
            case "call.resumed":
                call |= {"status": "live", "outcome": "", "ended_at": None}
            case "node.entered":
                call["node"] = data["node"]
            case "transfer.started":
                call["department"] = data["department"]
            case "call.ended":
                call |= {
                    "status": "ended",
                    "ended_at": event["occurred_at"],
                    "speaking": "",
                    "partial_transcript": "",
                } | {
                    name: data[name]
                    for name in ("outcome", "department", "disposition", "billed_seconds", "cost_micro_usd")
                }
            case "caller.speaking":
                call["speaking"] = "caller" if data["speaking"] else ""
            case "prompt.started":
                call |= {"speaking": "gateway", "prompt": data["text"]}
            case "prompt.finished":
                call |= {"speaking": "", "playout_gap_ms": call["playout_gap_ms"] + data["playout_gap_ms"]}

    async def wait_until(self, condition, seconds=10):
        """Wait until the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                assert self.close_code is None, f"cut off by {self.close_code}"
                self._changed.clear()
                await self._changed.wait()

    async def wait_until_consistent(self, database, tenant="harbour", seconds=10, *, calls_are_moving=False):
        """Wait until the views agree with the database, which must have a call; return the seconds it took.

        With ``moving`` calls, until each one that was shown wrongly was once seen to be right.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            wanted = await stored_calls(database, tenant)
            wrong = self._inconsistent_calls(wanted)
            while wrong or not wanted:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        self._changed.clear()
                        await self._changed.wait()
                wanted = await stored_calls(database, tenant)
                wrong = (
                    self._inconsistent_calls(wanted) & wrong if calls_are_moving else self._inconsistent_calls(wanted)
                )
        return asyncio.get_running_loop().time() - began

    def _inconsistent_calls(self, expected):
        """Return the calls whose view is wrong; a call that ended a while ago need not be shown."""
        recent = wall_clock() - MAX_SHOWN_AGE_US
        kept = {call: {name: facts[name] for name in COMPARED_FIELDS} for call, facts in expected.items()}
        body = {
            call: {name: facts.get(name, "") for name in COMPARED_FIELDS}
            for call, facts in self.call_views.items()
            if call in expected or facts["status"] == "live"
        }
        due = body.keys() | {
            call for call, facts in expected.items() if not facts["ended_at"] or facts["ended_at"] > recent
        }
        return {call for call in due if body.get(call) != kept.get(call)}


async def stored_calls(database, tenant):
    """Return the tenant's calls from the database."""
    query = select(call_rows, current_node().label("node"))
    if tenant:
        query = query.where(call_rows.c.tenant_id == tenant)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return {
        row.id: {
            "status": "live" if row.ended_at is None else "ended",
            "ended_at": row.ended_at,
            "outcome": row.outcome,
            "department": row.department,
            "node": row.node or "",
            "cost_micro_usd": row.cost_micro_usd,
            "generation": row.generation,
            "flow": row.flow_id,
            "number": row.number,
        }
        for row in rows
    }


@asynccontextmanager
async def open_monitor(member, key="", query="", **headers):
    """Open a monitor; gives it after its first snapshot."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    async with (
        ClientSession() as session,
        session.ws_connect(f"{member.origin}/v1/events{query}", headers=sent) as socket,
    ):
        made = MonitorClient(socket)
        task = asyncio.create_task(made.run())
        try:
            await made.wait_until(lambda screen: screen.snapshots or screen.close_code)
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
