"""``<Enqueue>``: the caller waits until the script, the wait document or the caller ends the stay.

While waiting, the document at the verb's ``waitUrl`` is played, and requested again when it has ended. The queue has no
other callers: a script says how the stay ends, and when.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vocelio.gateway.aio.tasks import first_completed
from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.events import CallBridged
from vocelio.gateway.simulator.report import QueueResult, QueueStay
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.twiml.schema import schema_error
from vocelio.gateway.simulator.verbs.say import run_say
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount
from vocelio.gateway.simulator.webhooks.call_webhooks import CallWebhooks, VerbResult

EMPTY_WAIT_DOCUMENT: Final = (parser.Pause(1),)
"""Replaces a wait document without verbs, so that it is not requested again at once."""

ScriptedResult = Literal["bridged", "queue-full", "error", "system-error", "redirected"]

REJECTED_RESULTS: Final = frozenset({"queue-full", "system-error"})
"""Results of calls that did not enter the queue."""


@dataclass(frozen=True, slots=True)
class QueueScript:
    """How a stay ends: with ``result`` after ``wait_seconds``.

    ``talk_seconds`` is the duration of a bridged call, ``redirect_url`` the target of a redirected one, ``position``
    the queue position that the wait document gets.
    """

    result: ScriptedResult = "bridged"
    wait_seconds: float = 0.5
    talk_seconds: float = 0.5
    redirect_url: str = ""
    position: int = 1


QueueScripts = Mapping[str, ScriptedResult | QueueScript] | Sequence[ScriptedResult | QueueScript]
"""Scripts by queue name, or in order; a stay without a script lasts until the document or the caller ends it."""


class EnqueueVerb:
    """Runs the ``<Enqueue>`` verbs of one call."""

    def __init__(
        self, scripts: QueueScripts, webhooks: CallWebhooks, call_log: CallLog, account: SimulatedAccount
    ) -> None:
        self._scripts_by_name: Mapping[str, ScriptedResult | QueueScript] = (
            scripts if isinstance(scripts, Mapping) else {}
        )
        self._scripts_in_order: Iterator[ScriptedResult | QueueScript] = iter(
            () if isinstance(scripts, Mapping) else scripts
        )
        self._webhooks = webhooks
        self._call_log = call_log
        self._account = account

    async def run(self, verb: parser.Enqueue) -> VerbResult:
        """Wait in the queue; return the action's document. Raises TwilioSimError."""
        script = self._next_script(verb.name)
        if script and script.result in REJECTED_RESULTS:
            self._call_log.queue_stays.append(QueueStay(verb.name, script.result, 0.0))
            return await self._load_action(verb, {"QueueResult": script.result})
        stay = _ActiveStay(verb, script, sids.new_sid("QU", self._account.rng), self._call_log.now())
        try:
            result = await self._wait_for_result(stay)
        except asyncio.CancelledError:  # the caller hung up
            self._post_hangup(stay)
            raise
        if result == "hangup":
            self._post_hangup(stay)
            return "hangup"
        fields = self._log_stay(stay, result)
        if script and result == "bridged":
            self._call_log.emit(CallBridged(self._call_log.now(), verb.name))
            await asyncio.sleep(script.talk_seconds)
        if script and result == "redirected":
            return await self._redirect(verb, fields, script.redirect_url)
        return await self._load_action(verb, fields)

    async def _wait_for_result(self, stay: "_ActiveStay") -> QueueResult:
        script = stay.script
        return await first_completed(self._play_wait_document(stay), *([_scripted_result(script)] if script else []))

    async def _play_wait_document(self, stay: "_ActiveStay") -> QueueResult:
        """Play the wait document repeatedly; return only if it leaves the queue or hangs up."""
        url = stay.verb.wait_url
        while url is not None:
            result = await self._play_once(stay, url)
            if result is not None:
                return result
        never: asyncio.Future[QueueResult] = asyncio.get_running_loop().create_future()
        return await never  # Twilio plays its own music

    async def _play_once(self, stay: "_ActiveStay", url: str) -> QueueResult | None:
        for verb in await self._webhooks.fetch_twiml(url, self._wait_fields(stay)) or EMPTY_WAIT_DOCUMENT:
            match verb:
                case parser.Say() | parser.Play() | parser.Pause():
                    await run_say(verb, self._account, self._call_log)
                case parser.Redirect(url=redirect_url):
                    return await self._play_once(stay, redirect_url)
                case parser.Leave():
                    return "leave"
                case parser.Hangup():
                    return "hangup"
                case _:
                    raise schema_error(f"<{type(verb).__name__}> is not allowed in a queue")
        return None

    async def _redirect(self, verb: parser.Enqueue, fields: Mapping[str, str], url: str) -> VerbResult:
        """Redirect by the REST API: request the action, ignore its response, and continue at ``url``."""
        if verb.action is not None:
            try:
                await self._webhooks.fetch_twiml(verb.action, fields)
            except TwilioSimError as error:
                self._call_log.add_error(error)
        return await self._webhooks.load_document(url)

    async def _load_action(self, verb: parser.Enqueue, fields: Mapping[str, str]) -> VerbResult:
        return None if verb.action is None else await self._webhooks.load_document(verb.action, fields)

    def _post_hangup(self, stay: "_ActiveStay") -> None:
        fields = self._log_stay(stay, "hangup")
        if stay.verb.action is not None:
            self._webhooks.post_callback(stay.verb.action, {**fields, "CallStatus": "completed"})

    def _log_stay(self, stay: "_ActiveStay", result: QueueResult) -> dict[str, str]:
        seconds = self._call_log.now() - stay.joined_at
        self._call_log.queue_stays.append(QueueStay(stay.verb.name, result, seconds))
        return {"QueueResult": result, "QueueSid": stay.sid, "QueueTime": str(int(seconds))}

    def _wait_fields(self, stay: "_ActiveStay") -> dict[str, str]:
        position = str(stay.script.position if stay.script else 1)
        return {
            "QueueSid": stay.sid,
            "QueueTime": str(int(self._call_log.now() - stay.joined_at)),
            "QueuePosition": position,
            "CurrentQueueSize": position,
            "AvgQueueTime": "0",
        }

    def _next_script(self, name: str) -> QueueScript | None:
        script = self._scripts_by_name.get(name) or next(self._scripts_in_order, None)
        return QueueScript(script) if isinstance(script, str) else script


@dataclass(frozen=True, slots=True)
class _ActiveStay:
    verb: parser.Enqueue
    script: QueueScript | None
    sid: str
    joined_at: float


async def _scripted_result(script: QueueScript) -> QueueResult:
    await asyncio.sleep(script.wait_seconds)
    return script.result
