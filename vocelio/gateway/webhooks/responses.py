"""What several webhooks answer: a stream for a call, a wait for the store, a goodbye; each with its URLs.

A URL that Twilio comes back to says how often it has come back without success, so that the answer needs no memory.
"""

from urllib.parse import urlencode

from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import SavedCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import Signatures
from vocelio.gateway.webhooks.signed_form import SignedForm

TROUBLE = "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
WAITS = 2  # times that a caller is asked to wait for the store: with its own patience about ten seconds
WAIT_SECONDS = 1
HOLD = Tenant(id="nobody", name="nobody").hold


class Answers:
    """TwiML documents, with the URLs that lead back to us."""

    def __init__(self, calls: Calls, signatures: Signatures) -> None:
        self._calls, self._signatures = calls, signatures

    def connect(self, tenant: str, account: str, call: str, generation: int, tries: int = 0) -> str:
        """A stream for the call, which is at that generation; ``tries`` have come to none before."""
        return twiml.connect(
            self._signatures.stream_url(f"/twilio/media/{account}"),
            self._calls.token(tenant, account, call, generation),
            then=self.url(f"/twilio/continue?g={generation}&k={tries}"),
            told=self.url(f"/twilio/stream?g={generation + 1}"),
        )

    def connect_kept(self, kept: SavedCall, tries: int = 0) -> str:
        """The same, of a call as it was kept."""
        return self.connect(kept.tenant, kept.account, kept.id, kept.generation, tries)

    def url(self, path: str) -> str:
        """The public URL of a path."""
        return self._signatures.url(path)

    def wait(self, form: SignedForm, path: str, **more: str) -> str:
        """The store is away: ask again soon, with ``more`` of the form, but not for ever."""
        waits = form.number("w")
        if waits < WAITS:
            query = {**form.query, **more, "w": str(waits + 1)}
            return twiml.wait(HOLD, WAIT_SECONDS, self.url(f"{path}?{urlencode(query)}"))
        found = self._calls.services.site.remembered(form.get("To"))
        if found is None or not found.forward:
            return twiml.apologise(found.text if found else TROUBLE)
        return twiml.forward(found.forward, caller_id=found.number, time_limit=found.longest)

    async def give_up(self, kept: SavedCall) -> str:
        """Nothing helps any more: a plain transfer, where the number has a fallback, or a goodbye. It only reads."""
        found = await self._calls.services.site.pinned(kept.tenant, kept.number, kept.flow, kept.version, kept.started)
        return unavailable(found, kept.caller) if found else twiml.apologise(TROUBLE)


def unavailable(found: Assignment, caller: str) -> str:
    """What a caller (E.164, empty when withheld) gets whom the number's flow cannot serve."""
    if not found.fallback:
        return twiml.apologise(found.tenant.apology)
    longest = found.tenant.max_transfer_seconds
    return twiml.forward(found.fallback, caller_id=caller or found.number, time_limit=longest)
