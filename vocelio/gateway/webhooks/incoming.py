"""The webhooks of a call's begin and end: a call comes in, the first URL failed, the call or its stream is over.

All of them may be asked twice (Twilio retries) and answer the same twice, but for the stream's token; what they do is
done once.
"""

import asyncio
import logging
import math
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from vocelio.engine.call_info import E164
from vocelio.gateway import logs
from vocelio.gateway.calls.registry import Calls, Visit
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Assignment, Closed
from vocelio.gateway.model.tenant import DEFAULT_APOLOGY
from vocelio.gateway.store.calls.interface import SavedCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import Signatures
from vocelio.gateway.webhooks.continuation import Onward
from vocelio.gateway.webhooks.overflow import OUTCOME, UNQUEUED, Overflowing
from vocelio.gateway.webhooks.responses import TROUBLE, Answers, unavailable
from vocelio.gateway.webhooks.signed_form import SignedForm

T = TypeVar("T")

LOG = logging.getLogger(__name__)

WITHHELD = ("+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253")
"""ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE on a telephone's keys."""
OVER = ("completed", "busy", "failed", "no-answer", "canceled")


class Voice:
    """One method for each webhook."""

    def __init__(
        self, calls: Calls, signatures: Signatures, answers: Answers, onward: Onward, overflow: Overflowing
    ) -> None:
        self._calls, self._signatures, self._answers = calls, signatures, answers
        self._onward, self._overflow = onward, overflow

    async def voice(self, form: SignedForm) -> str:
        """A call comes in; or comes out of the queue in which it waited for room, or hung up."""
        number = form.required("To")
        site = self._calls.services.site
        asked = (site.assignment(number), self._calls.find(form.call, form.account))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found, kept = _known(answers[0]), _known(answers[1])
        if isinstance(found, StoreUnavailable) or isinstance(kept, StoreUnavailable):
            return self._without_the_store(form, found)
        if isinstance(found, Assignment):
            logs.about(tenant=found.tenant.id, redacted=found.tenant.redact)
        if kept is not None and not kept.turned_away:  # asked again
            return twiml.hang_up() if kept.over else await self._again(kept, form)
        if found is None or not self._may_call(form.account, found.account):
            return twiml.apologise(DEFAULT_APOLOGY)
        visit = _visit(form)
        if isinstance(found, Closed):
            if kept is None:
                self._calls.turn_away(visit, found.tenant, found.flow, found.outcome)
            return _closed(found, visit)
        if form.get("QueueResult") == "hangup":
            if kept is None:
                self._overflow.refuse(visit, found)
            return twiml.hang_up()
        return await self._admit(visit, found, kept.outcome if kept else "", _waited(form))

    async def _again(self, kept: SavedCall, form: SignedForm) -> str:
        """A call that has had a stream is past its begin, whatever Twilio asks."""
        return await self._onward.go_on_with(kept, form) if kept.generation else self._answers.connect_kept(kept)

    async def _admit(self, visit: Visit, found: Assignment, before: str, waited: float) -> str:
        """``before`` is why it was turned away, if Twilio has asked before: then it is for the same reason now.

        ``waited`` is how many seconds it was in the queue.
        """
        tenant = found.tenant

        def turn_away(outcome: str) -> None:
            if not before:
                self._calls.turn_away(visit, tenant.id, found.flow, outcome)

        if before == "unavailable":
            return unavailable(found, visit.caller)
        if visit.caller and visit.caller in tenant.blocked:
            turn_away("blocked")
            return twiml.reject()
        if before == OUTCOME or (not before and self._calls.full_up):
            return await self._overflow.answer(visit, found, waited, before)
        try:
            record = None if before else await self._calls.begin(visit, found)
        except StoreUnavailable:
            return unavailable(found, visit.caller)
        if record is None:
            turn_away("busy")
            return twiml.apologise(tenant.pause)
        return self._answers.connect(tenant.id, record.account, record.call, 0)

    def _may_call(self, account: str, owner: str) -> bool:
        """A tenant's own account reaches that tenant's numbers only; the platform's, every number."""
        return self._signatures.is_platform(account) or account == owner

    def _without_the_store(self, form: SignedForm, found: Assignment | Closed | StoreUnavailable | None) -> str:
        """The fallback or the apology of a number that this process has seen before; or a general one."""
        if found is None or isinstance(found, StoreUnavailable) or not self._may_call(form.account, found.account):
            return twiml.apologise(TROUBLE)
        tenant = found.tenant if isinstance(found, Closed) else found.tenant.id
        visit = _visit(form)
        self._calls.turn_away(visit, tenant, found.flow, "unavailable")
        return _closed(found, visit) if isinstance(found, Closed) else unavailable(found, visit.caller)

    async def fallback(self, form: SignedForm) -> str:
        """Another of our URLs could not be fetched, or what it answered could not be carried out: answer in its place.

        Twilio names that URL in ErrorUrl and sends what it had sent there.
        """
        failed = _split(form.get("ErrorUrl"))
        LOG.warning("call %s: Twilio's error %s at %s", form.call, form.get("ErrorCode")[:10], failed.path[:100])
        again = form.again(dict(parse_qsl(failed.query)))
        try:
            return await self._in_place_of(failed.path, again)
        except StoreUnavailable:
            raise
        except Exception:  # our own defect, most likely the one that brought us here: nobody else would say anything
            LOG.exception("call %s: nothing helps", form.call)
            return twiml.apologise(TROUBLE)

    async def _in_place_of(self, path: str, form: SignedForm) -> str:
        match path:
            case "/twilio/continue":
                return await self._onward.go_on(form)
            case "/twilio/dialed":
                return await self._onward.dialed(form)
            case _:
                return await self.voice(form)

    async def status(self, form: SignedForm) -> None:
        """Twilio says how the call stands; once it is over, nothing of it goes on."""
        if form.get("CallStatus") in OVER:
            await self._calls.over(form.account, form.call)

    async def stream(self, form: SignedForm) -> None:
        """Twilio says how a stream fares. Only that it broke off is news."""
        if form.get("StreamEvent") == "stream-error":
            LOG.warning("call %s: its stream: %s", form.call, form.get("StreamError")[:200])
            await self._calls.broken(form.account, form.call, form.number("g"))


def _known(answer: T | BaseException) -> T | StoreUnavailable:
    """An answer, or that there is none at present. Raises what else went wrong."""
    if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailable):
        raise answer
    return answer


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _visit(form: SignedForm) -> Visit:
    return Visit(form.call, form.account, form.required("To"), _caller(form.get("From")))


def _waited(form: SignedForm) -> float:
    """Seconds in the queue, over all its stays there; for ever, where there is no use in another."""
    if form.get("QueueResult") in UNQUEUED:
        return math.inf
    return form.number("w") + form.seconds("QueueTime")


def _closed(found: Closed, visit: Visit) -> str:
    if not found.forward:
        return twiml.apologise(found.text)
    return twiml.forward(found.forward, caller_id=visit.caller or visit.number, time_limit=found.longest)


def _caller(number: str) -> str:
    """The caller's number, E.164; empty when it is withheld, which Twilio shows as a word or as its digits."""
    return number if E164.fullmatch(number) and number not in WITHHELD else ""
