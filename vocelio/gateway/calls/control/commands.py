"""Routes operator commands from any process to the one that has the call, and counts live calls of all processes.

Which process has a call changes with each of its streams and is recorded nowhere. So all processes share one pub/sub
channel: a request goes to all of them, and the one that has the call replies. Operators are few, so that the channel is
nearly always silent. A single process sends nothing.

A process may have lost a call without noticing, when its stream's socket is half open. So a request names the
generation that the store has, and a process with another one does not reply.
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
REPLY_TIMEOUT_SECONDS = 1.0  # a reply takes some milliseconds
MAX_CENSUSES = 100  # at a time, one for each tenant; past it a process counts its own calls only
MAX_PENDING_REQUESTS = 1_000  # without a reply yet; past it no request is sent

Command = Literal["hang_up", "transfer", "say", "jump"]
Verdict = Literal["accepted", "ending", "unknown_node", "not_here"]


class CommandResult(msgspec.Struct, frozen=True):
    """Result of a command. ``node`` is the flow's node after it."""

    verdict: Verdict
    node: str = ""


NOT_HERE = CommandResult("not_here")


class CommandTarget(Protocol):
    """A live call, as the router sees it."""

    @property
    def tenant(self) -> str:
        """The call's tenant."""
        ...

    @property
    def generation(self) -> int:
        """The generation of its stream."""
        ...

    def check_command(self, command: Command, value: str) -> CommandResult:
        """Return what the command would result in."""
        ...

    def execute_command(self, command: Command, value: str) -> CommandResult:
        """Execute the command."""
        ...


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, tag="command_request"):
    """Execute a command, or check it if ``execute`` is false. Without ``generation`` any stream is meant."""

    id: str
    tenant: str
    call: str
    command: Command
    value: str
    execute: bool
    generation: int | None = None


class CommandReply(msgspec.Struct, frozen=True, kw_only=True, tag="command_reply"):
    """Reply to the request with that id."""

    id: str
    result: CommandResult


class CensusRequest(msgspec.Struct, frozen=True, kw_only=True, tag="census_request"):
    """Ask each process for its number of live calls: of the tenant, or of all if it is empty."""

    id: str
    tenant: str


class CensusReply(msgspec.Struct, frozen=True, kw_only=True, tag="census_reply"):
    """Reply of one process."""

    id: str
    process: str
    live_calls: int


_decoder = msgspec.json.Decoder(CommandRequest | CommandReply | CensusRequest | CensusReply)


class _Census:
    """Replies to a census so far: live calls by process. ``complete`` is set when no process is ``missing``."""

    def __init__(self, tenant: str, counts: Mapping[str, int], missing: set[str]) -> None:
        self.tenant, self.counts, self.missing = tenant, dict(counts), missing
        self.complete = asyncio.Event()


class CommandRouter:
    """Router of one process. ``live_calls`` are by call SID."""

    def __init__(
        self, live_calls: Mapping[str, CommandTarget], pubsub: PubSub, timeout_seconds: float = REPLY_TIMEOUT_SECONDS
    ) -> None:
        self._live_calls, self._pubsub, self._timeout_seconds = live_calls, pubsub, timeout_seconds
        self._pending: dict[str, asyncio.Future[CommandResult]] = {}
        self._censuses: dict[str, _Census] = {}  # by request id; one for each tenant at most, shared by all who wait
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Start replying to other processes."""
        self._unsubscribe = self._pubsub.subscribe(COMMANDS_CHANNEL, self._on_message, _ignore_gap)

    async def aclose(self) -> None:
        """Stop replying, and complete the open censuses."""
        if self._unsubscribe:
            self._unsubscribe()
        for census_id in list(self._censuses):
            self._finish_census(census_id)

    async def check_command(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> CommandResult:
        """Return what the command would result in, in any process; ``not_here`` when no process has the call.

        ``generation`` is that of the stored call: a process that still has an older stream does not reply.
        """
        return await self._request(tenant, call, command, value, generation, execute=False)

    async def execute_command(
        self, tenant: str, call: str, command: Command, value: str = "", generation: int | None = None
    ) -> CommandResult:
        """Execute the command, in any process; ``not_here`` when none has confirmed it in time. See check_command."""
        return await self._request(tenant, call, command, value, generation, execute=True)

    async def _request(
        self, tenant: str, call: str, command: Command, value: str, generation: int | None, *, execute: bool
    ) -> CommandResult:
        request = CommandRequest(
            id=secrets.token_hex(8),
            tenant=tenant,
            call=call,
            command=command,
            value=value,
            execute=execute,
            generation=generation,
        )
        reaction = self._handle_request(request)
        if reaction is not NOT_HERE or self._pubsub.is_local or len(self._pending) >= MAX_PENDING_REQUESTS:
            return reaction
        answer = self._pending[request.id] = asyncio.get_running_loop().create_future()
        try:
            self._pubsub.publish(COMMANDS_CHANNEL, request)
            return await asyncio.wait_for(answer, self._timeout_seconds)
        except TimeoutError:
            return NOT_HERE
        finally:
            del self._pending[request.id]

    async def census(self, tenant: str, processes: Set[str]) -> Mapping[str, int]:
        """Count the live calls of the tenant, or of all tenants, by process: of those that reply in time.

        Simultaneous requests for the same tenant share one census: a process that died and is still listed makes each
        census last the full timeout, and clients request totals several times a second.
        """
        census = next((running for running in self._censuses.values() if running.tenant == tenant), None)
        if census is None:
            own = self._pubsub.process
            census = _Census(tenant, {own: self._count_calls(tenant)}, set(processes) - {own})
            if self._pubsub.is_local or not census.missing or len(self._censuses) >= MAX_CENSUSES:
                return census.counts
            self._start_census(census)
        await census.complete.wait()
        return census.counts

    def _start_census(self, census: _Census) -> None:
        request = CensusRequest(id=secrets.token_hex(8), tenant=census.tenant)
        self._censuses[request.id] = census
        asyncio.get_running_loop().call_later(self._timeout_seconds, self._finish_census, request.id)
        self._pubsub.publish(COMMANDS_CHANNEL, request)

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
        return sum(tenant in ("", call.tenant) for call in self._live_calls.values())

    def _handle_request(self, request: CommandRequest) -> CommandResult:
        live = self._live_calls.get(request.call)
        if live is None or live.tenant != request.tenant or request.generation not in (None, live.generation):
            return NOT_HERE
        return (live.execute_command if request.execute else live.check_command)(request.command, request.value)

    def _on_message(self, message: bytes) -> None:
        decoded = decode_message(_decoder, message)
        match decoded:
            case None:
                pass  # of another release
            case CommandReply():
                waiting = self._pending.get(decoded.id)
                if waiting and not waiting.done():
                    waiting.set_result(decoded.result)
            case CommandRequest():
                if (reaction := self._handle_request(decoded)) is not NOT_HERE:
                    self._pubsub.publish(COMMANDS_CHANNEL, CommandReply(id=decoded.id, result=reaction))
            case CensusRequest():
                calls = self._count_calls(decoded.tenant)
                self._pubsub.publish(
                    COMMANDS_CHANNEL, CensusReply(id=decoded.id, process=self._pubsub.process, live_calls=calls)
                )
            case CensusReply():
                self._on_census_reply(decoded)
            case _:
                assert_never(decoded)


def _ignore_gap() -> None:
    """A lost request has no reply and times out."""
