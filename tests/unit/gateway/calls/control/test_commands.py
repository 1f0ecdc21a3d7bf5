"""What processes ask one another of their calls: who answers, whom an answer is for, and what the asking costs."""

import asyncio

import msgspec

from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.control.commands import REPLY_TIMEOUT_SECONDS, CommandResult, CommandRouter

CALL = "CA" + "1" * 32
DEAD_PROCESS = "killed just now"


class FakeNetwork:
    """What connects some lines: each message goes to all but whoever sent it, at once."""

    def __init__(self):
        self.lines, self.sent = [], []

    def sent_messages(self, message):
        """One from without, as another release might send it."""
        for line in self.lines:
            line.heard(message)


class FakePubSub:
    """The Line port within a test."""

    is_local, dropped = False, 0

    def __init__(self, wire, process):
        self.wire, self.process = wire, process
        wire.lines.append(self)

    def publish(self, channel, message, *, durable=False):
        """See Line."""
        raw = msgspec.json.encode(message)
        self.wire.sent.append(msgspec.json.decode(raw))
        for line in self.wire.lines:
            if line is not self:
                asyncio.get_running_loop().call_soon(line.heard, raw)

    def subscribe(self, channel, on_message, on_gap):
        """See Line."""
        self.heard = on_message
        return lambda: None


class FakeLiveCall:
    """A live call that takes down what it is told."""

    def __init__(self, tenant="harbour", generation=1):
        self.tenant, self.generation, self.told = tenant, generation, []

    def check_command(self, command, value):
        """See Commanded."""
        return CommandResult("accepted", "greet")

    def execute_command(self, command, value):
        """See Commanded."""
        self.told.append(command)
        return self.check_command(command, value)


async def start_processes(*lives):
    """So many, each with those calls: their wire, and each one's dispatch."""
    wire, made = FakeNetwork(), []
    for number, live in enumerate(lives):
        made.append(CommandRouter(live, FakePubSub(wire, f"process {number}")))
        await made[-1].start()
    return wire, made


def sent_counts(wire):
    """What was sent of each kind."""
    return [message["type"] for message in wire.sent]


@in_virtual_time
async def test_stale_stream_rejects_commands():
    stale, owner = FakeLiveCall(generation=1), FakeLiveCall(generation=2)
    _, (item, two, third) = await start_processes({CALL: stale}, {CALL: owner}, {})
    for asked in (item, two, third):
        assert (await asked.check_command("harbour", CALL, "hang_up", generation=2)).verdict == "accepted"
        assert (await asked.execute_command("harbour", CALL, "hang_up", generation=2)).verdict == "accepted"
    assert (stale.told, owner.told) == ([], ["hang_up"] * 3)


@in_virtual_time
async def test_call_between_streams_is_not_here():
    stale = FakeLiveCall(generation=1)
    _, (item, two) = await start_processes({CALL: stale}, {})
    for asked in (item, two):
        assert (await asked.check_command("harbour", CALL, "hang_up", generation=2)).verdict == "not_here"
        assert (await asked.execute_command("harbour", CALL, "hang_up", generation=2)).verdict == "not_here"
    assert stale.told == []


@in_virtual_time
async def test_request_without_generation_is_answered():
    live = FakeLiveCall(generation=3)
    wire, _ = await start_processes({CALL: live})
    facts = {"id": "1", "tenant": "harbour", "call": CALL, "command": "hang_up", "value": "", "execute": True}
    wire.sent_messages(msgspec.json.encode({"type": "command_request", **facts}))
    assert live.told == ["hang_up"]
    assert sent_counts(wire) == ["command_reply"]


@in_virtual_time
async def test_wire_format_of_requests_and_replies():
    class Question(msgspec.Struct, tag="command_request"):
        id: str
        tenant: str
        call: str
        command: str
        value: str
        execute: bool

    class Told(msgspec.Struct):
        verdict: str
        node: str = ""

    class Reply(msgspec.Struct, tag="command_reply"):
        id: str
        result: Told

    wire, (item, _) = await start_processes({}, {CALL: FakeLiveCall()})
    await item.check_command("harbour", CALL, "hang_up", generation=1)
    asked, answered = (msgspec.convert(message, Question | Reply) for message in wire.sent)
    assert (asked.call, asked.execute, answered.result) == (CALL, False, Told("accepted", "greet"))


@in_virtual_time
async def test_simultaneous_requests_share_one_census():
    wire, (item, _) = await start_processes(
        {CALL: FakeLiveCall()}, {"CA2": FakeLiveCall(), "CA3": FakeLiveCall("canary")}
    )
    known, loop = {"process 0", "process 1", DEAD_PROCESS}, asyncio.get_running_loop()
    began = loop.time()
    first = asyncio.create_task(item.census("harbour", known))
    await asyncio.sleep(REPLY_TIMEOUT_SECONDS / 2)
    later = [asyncio.create_task(item.census("harbour", known)) for _ in range(500)]
    results = await asyncio.gather(first, *later)
    assert loop.time() - began == REPLY_TIMEOUT_SECONDS
    assert sent_counts(wire) == ["census_request", "census_reply"]
    assert results == [{"process 0": 1, "process 1": 1}] * 501
    await item.census("harbour", known)
    assert sent_counts(wire) == ["census_request", "census_reply"] * 2, "what was found is not kept"


@in_virtual_time
async def test_census_counts_only_the_tenants_calls():
    near, far = (
        {"1": FakeLiveCall(), "2": FakeLiveCall("canary")},
        {"3": FakeLiveCall("canary"), "4": FakeLiveCall("canary")},
    )
    _, (item, _) = await start_processes(near, far)
    known = {"process 1", DEAD_PROCESS}
    asked = [
        asyncio.create_task(item.census(tenant, known)) for tenant in ("harbour", "canary", "", "harbour", "third")
    ]
    assert [tuple(results.values()) for results in await asyncio.gather(*asked)] == [
        (1, 0),
        (1, 2),
        (2, 2),
        (1, 0),
        (0, 0),
    ]


@in_virtual_time
async def test_canceled_request_leaves_the_census_to_the_others():
    _, (item, _) = await start_processes({}, {CALL: FakeLiveCall()})
    known = {"process 1", DEAD_PROCESS}
    first, second = (asyncio.create_task(item.census("harbour", known)) for _ in range(2))
    await asyncio.sleep(REPLY_TIMEOUT_SECONDS / 2)
    first.cancel()
    assert await second == {"process 0": 0, "process 1": 1}


@in_virtual_time
async def test_close_completes_open_censuses():
    _, (item,) = await start_processes({CALL: FakeLiveCall()})
    asked, loop = asyncio.create_task(item.census("harbour", {DEAD_PROCESS})), asyncio.get_running_loop()
    await asyncio.sleep(0)
    began = loop.time()
    await item.aclose()
    assert await asked == {"process 0": 1}
    assert loop.time() == began
