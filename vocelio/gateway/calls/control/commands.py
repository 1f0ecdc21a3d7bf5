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

from vocelio.gateway.events import PubSub, decode_message

LOG = logging.getLogger(__name__)

COMMANDS_CHANNEL = "vocelio:commands"
REPLY_TIMEOUT_SECONDS = 1.0  # a second person would ask again; the answer takes some milliseconds
MAX_CENSUSES = 100  # tenants whose calls are counted at a time: past it the process knows of its own only
MAX_PENDING_REQUESTS = 1_000  # questions without an answer yet: past it the process does not ask

Command = Literal["hang_up", "transfer", "say", "jump"]
Verdict = Literal["accepted", "ending", "unknown_node", "not_here"]


class CommandResult(msgspec.Struct, frozen=True):
    """What a call makes of a command. ``node`` is where the flow is then."""

    verdict: Verdict
    node: str = ""


NOT_HERE = CommandResult("not_here")


class CommandTarget(Protocol):
    """A live call, to an operator."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def generation(self) -> int:
        """Which of the call's streams it has."""
        ...

    def check_command(self, command: Command, value: str) -> CommandResult:
        """What it would make of the command."""
        ...

    def execute_command(self, command: Command, value: str) -> CommandResult:
        """An operator wants something of it."""
        ...


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, tag="command_request"):
    """``seriously``: do it; else say what would come of it. Of which ``generation``, older releases do not say."""

    id: str
    tenant: str
    call: str
    command: Command
    value: str
    execute: bool
    generation: int | None = None


class CommandReply(msgspec.Struct, frozen=True, kw_only=True, tag="command_reply"):
    """The answer to the question with that id."""

    id: str
    result: CommandResult


class CensusRequest(msgspec.Struct, frozen=True, kw_only=True, tag="census_request"):
    """How many calls of the tenant's, or with none of everybody's, has each process?"""

    id: str
    tenant: str


class CensusReply(msgspec.Struct, frozen=True, kw_only=True, tag="census_reply"):
    """The answer of one."""

    id: str
    process: str
    live_calls: int


_decoder = msgspec.json.Decoder(CommandRequest | CommandReply | CensusRequest | CensusReply)


class _Census:
    """What has come in of a roll: the tenant's calls by process. ``over`` once no process is ``missing`` any more."""

    def __init__(self, tenant: str, counts: Mapping[str, int], missing: set[str]) -> None:
        self.tenant, self.counts, self.missing = tenant, dict(counts), missing
        self.complete = asyncio.Event()


class CommandRouter:
    """One process's. ``live`` are its calls, by Twilio's name."""

    def __init__(
        self, live_calls: Mapping[str, CommandTarget], pubsub: PubSub, timeout_seconds: float = REPLY_TIMEOUT_SECONDS
    ) -> None:
        self._live_calls, self._pubsub, self._timeout_seconds = live_calls, pubsub, timeout_seconds
        self._pending: dict[str, asyncio.Future[CommandResult]] = {}
        self._censuses: dict[str, _Census] = {}  # one for each tenant at most, however many wait for it
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Answer the others from now on."""
        self._unsubscribe = self._pubsub.subscribe(COMMANDS_CHANNEL, self._on_message, _ignore_gap)

    async def aclose(self) -> None:
        """Answer nobody any more."""
        if self._unsubscribe:
            self._unsubscribe()
        for roll in list(self._censuses):
            self._finish_census(roll)

    async def check_command(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> CommandResult:
        """What the call would make of it, wherever it is; ``not_here``: no process has it at the moment.

        ``generation`` is that of the call's row: an older stream of it, should there be one still, is not asked.
        """
        return await self._request(tenant, call, command, value, generation, execute=False)

    async def execute_command(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> CommandResult:
        """Pass it on to the call, wherever it is; ``not_here``: nobody has confirmed it in time. See ``could``."""
        return await self._request(tenant, call, command, value, generation, execute=True)

    async def _request(
        self, tenant: str, call: str, command: Command, value: str, generation: int | None, *, execute: bool
    ) -> CommandResult:
        question = CommandRequest(
            id=secrets.token_hex(8),
            tenant=tenant,
            call=call,
            command=command,
            value=value,
            execute=execute,
            generation=generation,
        )
        reaction = self._handle_request(question)
        if reaction is not NOT_HERE or self._pubsub.is_local or len(self._pending) >= MAX_PENDING_REQUESTS:
            return reaction
        answer = self._pending[question.id] = asyncio.get_running_loop().create_future()
        try:
            self._pubsub.publish(COMMANDS_CHANNEL, question)
            return await asyncio.wait_for(answer, self._timeout_seconds)
        except TimeoutError:
            return NOT_HERE
        finally:
            del self._pending[question.id]

    async def census(self, tenant: str, processes: Set[str]) -> Mapping[str, int]:
        """How many live calls of the tenant's, or of everybody's, each process has: of those that answer in time.

        Whoever asks for the same meanwhile shares what is found: one process that is gone, and is known for a while,
        makes each census last its full time, and clients ask for totals several times a second.
        """
        census = next((one for one in self._censuses.values() if one.tenant == tenant), None)
        if census is None:
            own = self._pubsub.process
            census = _Census(tenant, {own: self._count_calls(tenant)}, set(processes) - {own})
            if self._pubsub.is_local or not census.missing or len(self._censuses) >= MAX_CENSUSES:
                return census.counts
            self._start_census(census)
        await census.complete.wait()
        return census.counts

    def _start_census(self, census: _Census) -> None:
        roll = CensusRequest(id=secrets.token_hex(8), tenant=census.tenant)
        self._censuses[roll.id] = census
        asyncio.get_running_loop().call_later(self._timeout_seconds, self._finish_census, roll.id)
        self._pubsub.publish(COMMANDS_CHANNEL, roll)

    def _finish_census(self, census_id: str) -> None:
        if census := self._censuses.pop(census_id, None):
            census.complete.set()

    def _on_census_reply(self, reply: CensusReply) -> None:
        if census := self._censuses.get(reply.id):
            census.counts[reply.process] = reply.live_calls
            census.missing.discard(reply.process)
            if not census.missing:
                self._finish_census(reply.id)

    def _count_calls(self, tenant: str) -> int:
        return sum(tenant in ("", live.tenant) for live in self._live_calls.values())

    def _handle_request(self, request: CommandRequest) -> CommandResult:
        live = self._live_calls.get(request.call)
        if live is None or live.tenant != request.tenant or request.generation not in (None, live.generation):
            return NOT_HERE
        return (live.execute_command if request.execute else live.check_command)(request.command, request.value)

    def _on_message(self, message: bytes) -> None:
        heard = decode_message(_decoder, message)
        match heard:
            case None:
                pass  # it is not for us
            case CommandReply():
                waiting = self._pending.get(heard.id)
                if waiting and not waiting.done():
                    waiting.set_result(heard.result)
            case CommandRequest():
                if (reaction := self._handle_request(heard)) is not NOT_HERE:
                    self._pubsub.publish(COMMANDS_CHANNEL, CommandReply(id=heard.id, result=reaction))
            case CensusRequest():
                calls = self._count_calls(heard.tenant)
                self._pubsub.publish(
                    COMMANDS_CHANNEL, CensusReply(id=heard.id, process=self._pubsub.process, live_calls=calls)
                )
            case CensusReply():
                self._on_census_reply(heard)
            case _:
                assert_never(heard)


def _ignore_gap() -> None:
    """A question that was lost has no answer, and whoever asked is told so."""
