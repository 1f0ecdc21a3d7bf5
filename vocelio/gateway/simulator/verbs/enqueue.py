"""``<Enqueue>``: the caller waits, by script, until somebody takes the call, or the document or the caller leaves.

While waiting, the document at the verb's ``waitUrl`` is played, and asked for again when it has ended. Nobody else is
in the queue: how the stay ends, and after how long, is the test's to say.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vocelio.gateway.aio.first_completed import first
from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.error_codes import CarrierError
from vocelio.gateway.simulator.report.events import Bridged
from vocelio.gateway.simulator.report.report import Queued, QueueResult
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.twiml.schema import slip
from vocelio.gateway.simulator.verbs.say import announce
from vocelio.gateway.simulator.webhooks.account import Account
from vocelio.gateway.simulator.webhooks.call_webhooks import Documents, Next

NOTHING_TO_PLAY: Final = (parser.Pause(1),)
"""In place of a waiting document without verbs: it is asked for again, but not at once."""

Scripted = Literal["bridged", "queue-full", "error", "system-error", "redirected"]

REFUSED: Final = frozenset({"queue-full", "system-error"})
"""Results of calls that never were in the queue."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a stay ends: after ``wait`` seconds, by ``result``.

    ``talk``: seconds that a bridged call then takes. ``to``: the URL that a redirected one is sent to. ``position`` is
    what the waiting document is told all the while.
    """

    result: Scripted = "bridged"
    wait: float = 0.5
    talk: float = 0.5
    to: str = ""
    position: int = 1


Queues = Mapping[str, Scripted | Waiting] | Sequence[Scripted | Waiting]
"""How stays end: by the queue's name, or one after the other; whoever is left out waits until the document leaves."""


class Queue:
    """One call's stays in queues."""

    def __init__(self, queues: Queues, documents: Documents, record: Record, account: Account) -> None:
        self._by_name: Mapping[str, Scripted | Waiting] = queues if isinstance(queues, Mapping) else {}
        self._in_order: Iterator[Scripted | Waiting] = iter(() if isinstance(queues, Mapping) else queues)
        self._documents = documents
        self._record = record
        self._account = account

    async def enqueue(self, verb: parser.Enqueue) -> Next:
        """Wait; the action's document. Raises CarrierError."""
        script = self._script(verb.name)
        if script and script.result in REFUSED:
            self._record.queued.append(Queued(verb.name, script.result, 0.0))
            return await self._act(verb, {"QueueResult": script.result})
        stay = _Stay(verb, script, sids.sid("QU", self._account.rng), self._record.now())
        try:
            result = await self._wait(stay)
        except asyncio.CancelledError:  # the caller has hung up
            self._notify_of_hangup(stay)
            raise
        if result == "hangup":
            self._notify_of_hangup(stay)
            return "hangup"
        facts = self._left(stay, result)
        if script and result == "bridged":
            self._record.tell(Bridged(self._record.now(), verb.name))
            await asyncio.sleep(script.talk)
        if script and result == "redirected":
            return await self._redirect(verb, facts, script.to)
        return await self._act(verb, facts)

    async def _wait(self, stay: "_Stay") -> QueueResult:
        script = stay.script
        return await first(self._hold(stay), *([_after(script)] if script else []))

    async def _hold(self, stay: "_Stay") -> QueueResult:
        """The waiting document, over and over; ends only if that leaves, or hangs up."""
        url = stay.verb.wait_url
        while url is not None:
            result = await self._play(stay, url)
            if result is not None:
                return result
        for_ever: asyncio.Future[QueueResult] = asyncio.get_running_loop().create_future()
        return await for_ever  # Twilio's own music

    async def _play(self, stay: "_Stay", url: str) -> QueueResult | None:
        for verb in await self._documents.ask(url, self._position(stay)) or NOTHING_TO_PLAY:
            match verb:
                case parser.Say() | parser.Play() | parser.Pause():
                    await announce(verb, self._account, self._record)
                case parser.Redirect(url=to):
                    return await self._play(stay, to)
                case parser.Leave():
                    return "leave"
                case parser.Hangup():
                    return "hangup"
                case _:
                    raise slip(f"<{type(verb).__name__}> is not for a caller in a queue")
        return None

    async def _redirect(self, verb: parser.Enqueue, facts: Mapping[str, str], to: str) -> Next:
        """Redirected by REST: the action is told, whatever it answers, and the call goes where it was sent."""
        if verb.action is not None:
            try:
                await self._documents.ask(verb.action, facts)
            except CarrierError as error:
                self._record.fault(error)
        return await self._documents.fetch(to)

    async def _act(self, verb: parser.Enqueue, facts: Mapping[str, str]) -> Next:
        return None if verb.action is None else await self._documents.fetch(verb.action, facts)

    def _notify_of_hangup(self, stay: "_Stay") -> None:
        facts = self._left(stay, "hangup")
        if stay.verb.action is not None:
            self._documents.notify(stay.verb.action, {**facts, "CallStatus": "completed"})

    def _left(self, stay: "_Stay", result: QueueResult) -> dict[str, str]:
        seconds = self._record.now() - stay.joined
        self._record.queued.append(Queued(stay.verb.name, result, seconds))
        return {"QueueResult": result, "QueueSid": stay.sid, "QueueTime": str(int(seconds))}

    def _position(self, stay: "_Stay") -> dict[str, str]:
        position = str(stay.script.position if stay.script else 1)
        return {
            "QueueSid": stay.sid,
            "QueueTime": str(int(self._record.now() - stay.joined)),
            "QueuePosition": position,
            "CurrentQueueSize": position,
            "AvgQueueTime": "0",
        }

    def _script(self, name: str) -> Waiting | None:
        script = self._by_name.get(name) or next(self._in_order, None)
        return Waiting(script) if isinstance(script, str) else script


@dataclass(frozen=True, slots=True)
class _Stay:
    verb: parser.Enqueue
    script: Waiting | None
    sid: str
    joined: float


async def _after(script: Waiting) -> QueueResult:
    await asyncio.sleep(script.wait)
    return script.result
