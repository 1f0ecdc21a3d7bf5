"""From any process to the one that has a call: what an operator wants of it, and what came of that.

Who has a call is known to nobody but who has it, and changes with each of its streams. So all processes are on one
channel, a question goes to all of them, and the one that has the call answers. Operators are few and people are slow:
the channel is silent nearly always. In a process that is alone there is nobody to ask.

A process may have a call without knowing that it has lost it: its stream's socket is half open, and the call goes on in
another. So a question names the generation that the store has, and who has another one is not meant.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Set
from typing import Literal, Protocol, assert_never

import msgspec

from vocelio.gateway.events import Line, read

LOG = logging.getLogger(__name__)

CHANNEL = "vocelio:operators"
ANSWER_SECONDS = 1.0  # a second person would ask again; the answer takes some milliseconds
MAX_ROLLS = 100  # tenants whose calls are counted at a time: past it the process knows of its own only
MAX_WAITING = 1_000  # questions without an answer yet: past it the process does not ask

Command = Literal["hang_up", "transfer", "say", "jump"]
Verdict = Literal["accepted", "ending", "unknown_node", "not_here"]


class Reaction(msgspec.Struct, frozen=True):
    """What a call makes of a command. ``node`` is where the flow is then."""

    verdict: Verdict
    node: str = ""


NOT_HERE = Reaction("not_here")


class Commanded(Protocol):
    """A live call, to an operator."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def generation(self) -> int:
        """Which of the call's streams it has."""
        ...

    def could(self, command: Command, value: str) -> Reaction:
        """What it would make of the command."""
        ...

    def commanded(self, command: Command, value: str) -> Reaction:
        """An operator wants something of it."""
        ...


class Question(msgspec.Struct, frozen=True, kw_only=True, tag="question"):
    """``seriously``: do it; else say what would come of it. Of which ``generation``, older releases do not say."""

    id: str
    tenant: str
    call: str
    command: Command
    value: str
    seriously: bool
    generation: int | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag="reply"):
    """The answer to the question with that id."""

    id: str
    reaction: Reaction


class Roll(msgspec.Struct, frozen=True, kw_only=True, tag="roll"):
    """How many calls of the tenant's, or with none of everybody's, has each process?"""

    id: str
    tenant: str


class Present(msgspec.Struct, frozen=True, kw_only=True, tag="present"):
    """The answer of one."""

    id: str
    process: str
    calls: int


_decoder = msgspec.json.Decoder(Question | Reply | Roll | Present)


class _Census:
    """What has come in of a roll: the tenant's calls by process. ``over`` once no process is ``missing`` any more."""

    def __init__(self, tenant: str, own: Mapping[str, int], missing: set[str]) -> None:
        self.tenant, self.found, self.missing = tenant, dict(own), missing
        self.over = asyncio.Event()


class Dispatch:
    """One process's. ``live`` are its calls, by Twilio's name."""

    def __init__(self, live: Mapping[str, Commanded], line: Line, seconds: float = ANSWER_SECONDS) -> None:
        self._live, self._line, self._seconds = live, line, seconds
        self._waiting: dict[str, asyncio.Future[Reaction]] = {}
        self._rolls: dict[str, _Census] = {}  # one for each tenant at most, however many wait for it
        self._end: Callable[[], None] | None = None

    async def start(self) -> None:
        """Answer the others from now on."""
        self._end = self._line.subscribe(CHANNEL, self._heard, _no_matter)

    async def aclose(self) -> None:
        """Answer nobody any more."""
        if self._end:
            self._end()
        for roll in list(self._rolls):
            self._finish(roll)

    async def could(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> Reaction:
        """What the call would make of it, wherever it is; ``not_here``: no process has it at the moment.

        ``generation`` is that of the call's row: an older stream of it, should there be one still, is not asked.
        """
        return await self._ask(tenant, call, command, value, generation, seriously=False)

    async def command(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> Reaction:
        """Pass it on to the call, wherever it is; ``not_here``: nobody has confirmed it in time. See ``could``."""
        return await self._ask(tenant, call, command, value, generation, seriously=True)

    async def _ask(
        self, tenant: str, call: str, command: Command, value: str, generation: int | None, *, seriously: bool
    ) -> Reaction:
        question = Question(
            id=secrets.token_hex(8),
            tenant=tenant,
            call=call,
            command=command,
            value=value,
            seriously=seriously,
            generation=generation,
        )
        reaction = self._react(question)
        if reaction is not NOT_HERE or self._line.alone or len(self._waiting) >= MAX_WAITING:
            return reaction
        answer = self._waiting[question.id] = asyncio.get_running_loop().create_future()
        try:
            self._line.send(CHANNEL, question)
            return await asyncio.wait_for(answer, self._seconds)
        except TimeoutError:
            return NOT_HERE
        finally:
            del self._waiting[question.id]

    async def census(self, tenant: str, processes: Set[str]) -> Mapping[str, int]:
        """How many live calls of the tenant's, or of everybody's, each process has: of those that answer in time.

        Whoever asks for the same meanwhile shares what is found: one process that is gone, and is known for a while,
        makes each census last its full time, and clients ask for totals several times a second.
        """
        census = next((one for one in self._rolls.values() if one.tenant == tenant), None)
        if census is None:
            own = self._line.process
            census = _Census(tenant, {own: self._count(tenant)}, set(processes) - {own})
            if self._line.alone or not census.missing or len(self._rolls) >= MAX_ROLLS:
                return census.found
            self._call(census)
        await census.over.wait()
        return census.found

    def _call(self, census: _Census) -> None:
        roll = Roll(id=secrets.token_hex(8), tenant=census.tenant)
        self._rolls[roll.id] = census
        asyncio.get_running_loop().call_later(self._seconds, self._finish, roll.id)
        self._line.send(CHANNEL, roll)

    def _finish(self, roll: str) -> None:
        if census := self._rolls.pop(roll, None):
            census.over.set()

    def _answered(self, present: Present) -> None:
        if census := self._rolls.get(present.id):
            census.found[present.process] = present.calls
            census.missing.discard(present.process)
            if not census.missing:
                self._finish(present.id)

    def _count(self, tenant: str) -> int:
        return sum(tenant in ("", live.tenant) for live in self._live.values())

    def _react(self, question: Question) -> Reaction:
        live = self._live.get(question.call)
        if live is None or live.tenant != question.tenant or question.generation not in (None, live.generation):
            return NOT_HERE
        return (live.commanded if question.seriously else live.could)(question.command, question.value)

    def _heard(self, message: bytes) -> None:
        heard = read(_decoder, message)
        match heard:
            case None:
                pass  # it is not for us
            case Reply():
                waiting = self._waiting.get(heard.id)
                if waiting and not waiting.done():
                    waiting.set_result(heard.reaction)
            case Question():
                if (reaction := self._react(heard)) is not NOT_HERE:
                    self._line.send(CHANNEL, Reply(id=heard.id, reaction=reaction))
            case Roll():
                calls = self._count(heard.tenant)
                self._line.send(CHANNEL, Present(id=heard.id, process=self._line.process, calls=calls))
            case Present():
                self._answered(heard)
            case _:
                assert_never(heard)


def _no_matter() -> None:
    """A question that was lost has no answer, and whoever asked is told so."""
