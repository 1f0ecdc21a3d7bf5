"""``<Dial>``: the people who are rung, by script, and what Twilio reports of them.

The time limit of a ring is the verb's ``timeout``; how long a callee lets it ring, and then talks, is the
script's, within the verb's ``timeLimit``.
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
    """Someone who is rung: what becomes of it, after how many seconds, and how long they talk."""

    outcome: DialOutcome = "answered"
    ring_seconds: float = 0.2
    talk_seconds: float = 1.0


Callees = Mapping[str, DialOutcome | Callee] | Sequence[DialOutcome | Callee]
"""Who answers: by number or SIP URI, or one after the other in the order of ringing; whoever is left out answers."""

DIAL_CALL_STATUSES: Final[Mapping[DialOutcome, str]] = {
    "answered": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "failed": "failed",
}
"""DialCallStatus of each outcome."""


class DialVerb:
    """Rings for one call."""

    def __init__(self, callees: Callees, webhooks: CallWebhooks, call_log: CallLog, rng: random.Random) -> None:
        self._callees_by_address: Mapping[str, DialOutcome | Callee] = callees if isinstance(callees, Mapping) else {}
        self._callees_in_order: Iterator[DialOutcome | Callee] = iter(() if isinstance(callees, Mapping) else callees)
        self._webhooks = webhooks
        self._call_log = call_log
        self._rng = rng

    async def run(self, verb: Dial) -> DialResult:
        """Ring, and talk if somebody answers. Returns what the verb came to. Raises CarrierError."""
        _check_verb(verb)
        self._call_log.emit(DialStarted(self._call_log.now(), tuple(target.address for target in verb.targets)))
        if not verb.sequential:
            return await self._ring(verb.targets, verb)
        *others, last = verb.targets
        for target in others:
            dialed = await self._ring((target,), verb)
            if dialed.outcome == "answered":
                return dialed
        return await self._ring((last,), verb)

    async def _ring(self, targets: tuple[Target, ...], verb: Dial) -> DialResult:
        """Ring together: the first to answer has it. Without one, the first target's outcome is the verb's."""
        callees = [(target, self._callee(target, verb.timeout)) for target in targets]
        answering = [pair for pair in callees if pair[1].outcome == "answered"]
        if not answering:
            await asyncio.sleep(max(callee.ring_seconds for _, callee in callees))
            unanswered = [self._add_result(target, callee.outcome, verb) for target, callee in callees]
            return unanswered[0]
        target, callee = min(answering, key=lambda pair: pair[1].ring_seconds)
        await asyncio.sleep(callee.ring_seconds)
        for other, its in callees:
            if other is not target:
                self._add_result(other, "no-answer" if its.outcome == "answered" else its.outcome, verb)
        return await self._bridge(target, callee, verb)

    async def _bridge(self, target: Target, callee: Callee, verb: Dial) -> DialResult:
        try:
            whisper = await self._fetch_whisper(target, verb)
        except TwilioSimError as error:
            self._call_log.add_error(error)
            return self._add_result(target, "failed", verb)
        self._call_log.emit(CallBridged(self._call_log.now(), target.address))
        talk = min(callee.talk_seconds, verb.time_limit)
        await asyncio.sleep(talk)
        return self._add_result(target, "answered", verb, whisper, talk)

    async def _fetch_whisper(self, target: Target, verb: Dial) -> str | None:
        """What the callee is told before the caller is put through; read while the caller hears the ringing."""
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
        dialed = DialResult(target.address, outcome, verb.caller_id, whisper, seconds)
        self._call_log.dial_results.append(dialed)
        return dialed


def _check_verb(verb: Dial) -> None:
    for target in verb.targets:
        if not (E164_PATTERN.fullmatch(target.address) or SIP_URI_PATTERN.fullmatch(target.address)):
            raise TwilioSimError(error_codes.DIAL_NUMBER, f"{target.address!r} is neither a number nor a SIP URI")
    if verb.caller_id is not None and not E164_PATTERN.fullmatch(verb.caller_id):
        raise TwilioSimError(error_codes.DIAL_CALLER_ID, f"{verb.caller_id!r} is not a number to show")
