"""What processes ask one another of their calls: who answers, whom an answer is for, and what the asking costs."""

import asyncio

import msgspec

from tests.virtual_time import in_virtual_time
from vocelio.gateway.calls.control.commands import ANSWER_SECONDS, Dispatch, Reaction

CALL = "CA" + "1" * 32
DEAD = "killed just now"


class Wire:
    """What connects some lines: each message goes to all but whoever sent it, at once."""

    def __init__(self):
        self.lines, self.sent = [], []

    def told(self, message):
        """One from without, as another release might send it."""
        for line in self.lines:
            line.heard(message)


class WiredLine:
    """The Line port within a test."""

    alone, lost = False, 0

    def __init__(self, wire, process):
        self.wire, self.process = wire, process
        wire.lines.append(self)

    def send(self, channel, message, *, lasting=False):
        """See Line."""
        raw = msgspec.json.encode(message)
        self.wire.sent.append(msgspec.json.decode(raw))
        for line in self.wire.lines:
            if line is not self:
                asyncio.get_running_loop().call_soon(line.heard, raw)

    def subscribe(self, channel, heard, gap):
        """See Line."""
        self.heard = heard
        return lambda: None


class OnTheLine:
    """A live call that takes down what it is told."""

    def __init__(self, tenant="harbour", generation=1):
        self.tenant, self.generation, self.told = tenant, generation, []

    def could(self, command, value):
        """See Commanded."""
        return Reaction("accepted", "greet")

    def commanded(self, command, value):
        """See Commanded."""
        self.told.append(command)
        return self.could(command, value)


async def processes(*lives):
    """So many, each with those calls: their wire, and each one's dispatch."""
    wire, made = Wire(), []
    for number, live in enumerate(lives):
        made.append(Dispatch(live, WiredLine(wire, f"process {number}")))
        await made[-1].start()
    return wire, made


def others(wire):
    """What was sent of each kind."""
    return [message["type"] for message in wire.sent]


@in_virtual_time
async def test_a_stream_that_is_not_the_calls_own_any_more_takes_no_command():
    stale, owner = OnTheLine(generation=1), OnTheLine(generation=2)
    _, (one, two, third) = await processes({CALL: stale}, {CALL: owner}, {})
    for asked in (one, two, third):
        assert (await asked.could("harbour", CALL, "hang_up", generation=2)).verdict == "accepted"
        assert (await asked.command("harbour", CALL, "hang_up", generation=2)).verdict == "accepted"
    assert (stale.told, owner.told) == ([], ["hang_up"] * 3)


@in_virtual_time
async def test_a_call_whose_next_stream_has_not_begun_yet_is_nowhere():
    stale = OnTheLine(generation=1)
    _, (one, two) = await processes({CALL: stale}, {})
    for asked in (one, two):
        assert (await asked.could("harbour", CALL, "hang_up", generation=2)).verdict == "not_here"
        assert (await asked.command("harbour", CALL, "hang_up", generation=2)).verdict == "not_here"
    assert stale.told == []


@in_virtual_time
async def test_a_question_of_an_older_release_names_no_generation_and_is_answered():
    live = OnTheLine(generation=3)
    wire, _ = await processes({CALL: live})
    facts = {"id": "1", "tenant": "harbour", "call": CALL, "command": "hang_up", "value": "", "seriously": True}
    wire.told(msgspec.json.encode({"type": "question", **facts}))
    assert live.told == ["hang_up"]
    assert others(wire) == ["reply"]


@in_virtual_time
async def test_an_older_release_understands_what_is_asked_and_answered():
    class Question(msgspec.Struct, tag="question"):
        id: str
        tenant: str
        call: str
        command: str
        value: str
        seriously: bool

    class Told(msgspec.Struct):
        verdict: str
        node: str = ""

    class Reply(msgspec.Struct, tag="reply"):
        id: str
        reaction: Told

    wire, (one, _) = await processes({}, {CALL: OnTheLine()})
    await one.could("harbour", CALL, "hang_up", generation=1)
    asked, answered = (msgspec.convert(message, Question | Reply) for message in wire.sent)
    assert (asked.call, asked.seriously, answered.reaction) == (CALL, False, Told("accepted", "greet"))


@in_virtual_time
async def test_those_who_ask_for_the_same_totals_meanwhile_share_one_census():
    wire, (one, _) = await processes({CALL: OnTheLine()}, {"CA2": OnTheLine(), "CA3": OnTheLine("canary")})
    known, loop = {"process 0", "process 1", DEAD}, asyncio.get_running_loop()
    began = loop.time()
    first = asyncio.create_task(one.census("harbour", known))
    await asyncio.sleep(ANSWER_SECONDS / 2)
    later = [asyncio.create_task(one.census("harbour", known)) for _ in range(500)]
    found = await asyncio.gather(first, *later)
    assert loop.time() - began == ANSWER_SECONDS
    assert others(wire) == ["roll", "present"]
    assert found == [{"process 0": 1, "process 1": 1}] * 501
    await one.census("harbour", known)
    assert others(wire) == ["roll", "present"] * 2, "what was found is not kept"


@in_virtual_time
async def test_a_tenant_is_told_of_its_own_calls_only_however_many_ask():
    near, far = {"1": OnTheLine(), "2": OnTheLine("canary")}, {"3": OnTheLine("canary"), "4": OnTheLine("canary")}
    _, (one, _) = await processes(near, far)
    known = {"process 1", DEAD}
    asked = [asyncio.create_task(one.census(tenant, known)) for tenant in ("harbour", "canary", "", "harbour", "third")]
    assert [tuple(found.values()) for found in await asyncio.gather(*asked)] == [(1, 0), (1, 2), (2, 2), (1, 0), (0, 0)]


@in_virtual_time
async def test_whoever_gives_up_takes_the_census_from_nobody():
    _, (one, _) = await processes({}, {CALL: OnTheLine()})
    known = {"process 1", DEAD}
    first, second = (asyncio.create_task(one.census("harbour", known)) for _ in range(2))
    await asyncio.sleep(ANSWER_SECONDS / 2)
    first.cancel()
    assert await second == {"process 0": 0, "process 1": 1}


@in_virtual_time
async def test_a_process_that_ends_waits_for_no_census():
    _, (one,) = await processes({CALL: OnTheLine()})
    asked, loop = asyncio.create_task(one.census("harbour", {DEAD})), asyncio.get_running_loop()
    await asyncio.sleep(0)
    began = loop.time()
    await one.aclose()
    assert await asked == {"process 0": 1}
    assert loop.time() == began
