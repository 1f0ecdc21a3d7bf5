"""``<Dial>``: dial scripted callees and report their outcomes.

The verb's ``timeout`` limits ringing and its ``timeLimit`` the conversation; the script says how long a callee lets it
ring and then talks.
"""

import asyncio
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vocelio.gateway.simulator import error_codes, sids
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.events import CallBridged, DialStarted
from vocelio.gateway.simulator.report import DialOutcome, DialResult
from vocelio.gateway.simulator.twiml.parser import Dial, Say, Target
from vocelio.gateway.simulator.webhooks.call_webhooks import CallWebhooks

E164_PATTERN = re.compile(r"\+[1-9]\d{6,14}")
SIP_URI_PATTERN = re.compile(r"sips?:[^\s@]+@[^\s@]+")


@dataclass(frozen=True, slots=True)
class Callee:
    """A scripted callee: outcome, ringing time, and duration of the conversation."""

    outcome: DialOutcome = "answered"
    ring_seconds: float = 0.2
    talk_seconds: float = 1.0


Callees = Mapping[str, DialOutcome | Callee] | Sequence[DialOutcome | Callee]
"""Callees by number or SIP URI, or in the order of dialing; a target without a script answers."""

DIAL_CALL_STATUSES: Final[Mapping[DialOutcome, str]] = {
    "answered": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "failed": "failed",
}
"""DialCallStatus of each outcome."""


class DialVerb:
    """Runs the ``<Dial>`` verbs of one call."""

    def __init__(self, callees: Callees, webhooks: CallWebhooks, call_log: CallLog, rng: random.Random) -> None:
        self._callees_by_address: Mapping[str, DialOutcome | Callee] = callees if isinstance(callees, Mapping) else {}
        self._callees_in_order: Iterator[DialOutcome | Callee] = iter(() if isinstance(callees, Mapping) else callees)
        self._webhooks = webhooks
        self._call_log = call_log
        self._rng = rng

    async def run(self, verb: Dial) -> DialResult:
        """Dial the targets and return the result of the verb. Raises TwilioSimError."""
        _check_verb(verb)
        self._call_log.emit(DialStarted(self._call_log.now(), tuple(target.address for target in verb.targets)))
        if not verb.sequential:
            return await self._ring(verb.targets, verb)
        *others, last = verb.targets
        for target in others:
            result = await self._ring((target,), verb)
            if result.outcome == "answered":
                return result
        return await self._ring((last,), verb)

    async def _ring(self, targets: tuple[Target, ...], verb: Dial) -> DialResult:
        """Dial simultaneously: the first to answer is connected; if none answers, the first target's outcome counts."""
        callees = [(target, self._callee(target, verb.timeout)) for target in targets]
        answering = [pair for pair in callees if pair[1].outcome == "answered"]
        if not answering:
            await asyncio.sleep(max(callee.ring_seconds for _, callee in callees))
            unanswered = [self._add_result(target, callee.outcome, verb) for target, callee in callees]
            return unanswered[0]
        target, callee = min(answering, key=lambda pair: pair[1].ring_seconds)
        await asyncio.sleep(callee.ring_seconds)
        for losing_target, losing in callees:
            if losing_target is not target:
                outcome: DialOutcome = "no-answer" if losing.outcome == "answered" else losing.outcome
                self._add_result(losing_target, outcome, verb)
        return await self._bridge(target, callee, verb)

    async def _bridge(self, target: Target, callee: Callee, verb: Dial) -> DialResult:
        try:
            whisper = await self._fetch_whisper(target, verb)
        except TwilioSimError as error:
            self._call_log.add_error(error)
            return self._add_result(target, "failed", verb)
        self._call_log.emit(CallBridged(self._call_log.now(), target.address))
        talk_seconds = min(callee.talk_seconds, verb.time_limit)
        await asyncio.sleep(talk_seconds)
        return self._add_result(target, "answered", verb, whisper, talk_seconds)

    async def _fetch_whisper(self, target: Target, verb: Dial) -> str | None:
        """Fetch the text that the callee hears before the caller is connected, while the caller hears ringing."""
        if target.whisper_url is None:
            return None
        fields = {
            "CallSid": sids.new_sid("CA", self._rng),
            "ParentCallSid": self._call_log.call_sid,
            "Direction": "outbound-dial",
            "From": verb.caller_id or "",
            "To": target.address,
        }
        verbs = await self._webhooks.fetch_twiml(target.whisper_url, fields)
        return " ".join(verb.text for verb in verbs if isinstance(verb, Say))

    def _callee(self, target: Target, timeout: int) -> Callee:
        script = self._scripted_callee(target.address)
        callee = script if isinstance(script, Callee) else Callee(script)
        return callee if callee.ring_seconds <= timeout else Callee("no-answer", ring_seconds=timeout)

    def _scripted_callee(self, address: str) -> DialOutcome | Callee:
        if address in self._callees_by_address:
            return self._callees_by_address[address]
        return next(self._callees_in_order, Callee())

    def _add_result(
        self, target: Target, outcome: DialOutcome, verb: Dial, whisper: str | None = None, seconds: float = 0.0
    ) -> DialResult:
        result = DialResult(target.address, outcome, verb.caller_id, whisper, seconds)
        self._call_log.dial_results.append(result)
        return result


def _check_verb(verb: Dial) -> None:
    for target in verb.targets:
        if not (E164_PATTERN.fullmatch(target.address) or SIP_URI_PATTERN.fullmatch(target.address)):
            raise TwilioSimError(error_codes.DIAL_NUMBER, f"{target.address!r} is neither a number nor a SIP URI")
    if verb.caller_id is not None and not E164_PATTERN.fullmatch(verb.caller_id):
        raise TwilioSimError(error_codes.DIAL_CALLER_ID, f"{verb.caller_id!r} is not a valid caller ID")
