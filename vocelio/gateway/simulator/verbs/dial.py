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
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.error_codes import CarrierError
from vocelio.gateway.simulator.report.events import Bridged, Dialing
from vocelio.gateway.simulator.report.report import Dialed, Outcome
from vocelio.gateway.simulator.twiml.parser import Dial, Say, Target
from vocelio.gateway.simulator.webhooks.call_webhooks import Documents

NUMBER = re.compile(r"\+[1-9]\d{6,14}")
SIP = re.compile(r"sips?:[^\s@]+@[^\s@]+")


@dataclass(frozen=True, slots=True)
class Callee:
    """Someone who is rung: what becomes of it, after how many seconds, and how long they talk."""

    outcome: Outcome = "answered"
    ring: float = 0.2
    talk: float = 1.0


Dials = Mapping[str, Outcome | Callee] | Sequence[Outcome | Callee]
"""Who answers: by number or SIP URI, or one after the other in the order of ringing; whoever is left out answers."""

STATUS: Final[Mapping[Outcome, str]] = {
    "answered": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "failed": "failed",
}
"""DialCallStatus of each outcome."""


class Dialer:
    """Rings for one call."""

    def __init__(self, dials: Dials, documents: Documents, record: Record, rng: random.Random) -> None:
        self._by_address: Mapping[str, Outcome | Callee] = dials if isinstance(dials, Mapping) else {}
        self._in_order: Iterator[Outcome | Callee] = iter(() if isinstance(dials, Mapping) else dials)
        self._documents = documents
        self._record = record
        self._rng = rng

    async def dial(self, verb: Dial) -> Dialed:
        """Ring, and talk if somebody answers. Returns what the verb came to. Raises CarrierError."""
        _check(verb)
        self._record.tell(Dialing(self._record.now(), tuple(target.address for target in verb.targets)))
        if not verb.sequential:
            return await self._ring(verb.targets, verb)
        *others, last = verb.targets
        for target in others:
            dialed = await self._ring((target,), verb)
            if dialed.outcome == "answered":
                return dialed
        return await self._ring((last,), verb)

    async def _ring(self, targets: tuple[Target, ...], verb: Dial) -> Dialed:
        """Ring together: the first to answer has it. Without one, the first target's outcome is the verb's."""
        callees = [(target, self._callee(target, verb.timeout)) for target in targets]
        answering = [pair for pair in callees if pair[1].outcome == "answered"]
        if not answering:
            await asyncio.sleep(max(callee.ring for _, callee in callees))
            unanswered = [self._note(target, callee.outcome, verb) for target, callee in callees]
            return unanswered[0]
        target, callee = min(answering, key=lambda pair: pair[1].ring)
        await asyncio.sleep(callee.ring)
        for other, its in callees:
            if other is not target:
                self._note(other, "no-answer" if its.outcome == "answered" else its.outcome, verb)
        return await self._bridge(target, callee, verb)

    async def _bridge(self, target: Target, callee: Callee, verb: Dial) -> Dialed:
        try:
            whisper = await self._whisper(target, verb)
        except CarrierError as error:
            self._record.fault(error)
            return self._note(target, "failed", verb)
        self._record.tell(Bridged(self._record.now(), target.address))
        talk = min(callee.talk, verb.time_limit)
        await asyncio.sleep(talk)
        return self._note(target, "answered", verb, whisper, talk)

    async def _whisper(self, target: Target, verb: Dial) -> str | None:
        """What the callee is told before the caller is put through; read while the caller hears the ringing."""
        if target.whisper is None:
            return None
        fields = {
            "CallSid": sids.sid("CA", self._rng),
            "ParentCallSid": self._record.call_sid,
            "Direction": "outbound-dial",
            "From": verb.caller_id or "",
            "To": target.address,
        }
        verbs = await self._documents.ask(target.whisper, fields)
        return " ".join(verb.text for verb in verbs if isinstance(verb, Say))

    def _callee(self, target: Target, timeout: int) -> Callee:
        script = self._script(target.address)
        callee = script if isinstance(script, Callee) else Callee(script)
        return callee if callee.ring <= timeout else Callee("no-answer", ring=timeout)

    def _script(self, address: str) -> Outcome | Callee:
        if address in self._by_address:
            return self._by_address[address]
        return next(self._in_order, Callee())

    def _note(
        self, target: Target, outcome: Outcome, verb: Dial, whisper: str | None = None, seconds: float = 0.0
    ) -> Dialed:
        dialed = Dialed(target.address, outcome, verb.caller_id, whisper, seconds)
        self._record.dialed.append(dialed)
        return dialed


def _check(verb: Dial) -> None:
    for target in verb.targets:
        if not (NUMBER.fullmatch(target.address) or SIP.fullmatch(target.address)):
            raise CarrierError(error_codes.DIAL_NUMBER, f"{target.address!r} is neither a number nor a SIP URI")
    if verb.caller_id is not None and not NUMBER.fullmatch(verb.caller_id):
        raise CarrierError(error_codes.DIAL_CALLER_ID, f"{verb.caller_id!r} is not a number to show")
