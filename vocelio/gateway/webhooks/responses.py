"""What several webhooks answer: a stream for a call, a wait for the store, a goodbye; each with its URLs.

A URL that Twilio comes back to says how often it has come back without success, so that the answer needs no memory.
"""

from urllib.parse import urlencode

from vocelio.gateway.calls.lifecycle import CallLifecycle
from vocelio.gateway.model.directory import CallConfig, Directory
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import StoredCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import SignatureVerifier
from vocelio.gateway.webhooks.signed_form import TwilioRequest

ERROR_MESSAGE = "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
MAX_RETRIES = 2  # times that a caller is asked to wait for the store: with its own patience about ten seconds
RETRY_DELAY_SECONDS = 1
DEFAULT_HOLD_MESSAGE = Tenant(id="nobody", name="nobody").hold_message


class TwimlResponses:
    """TwiML documents, with the URLs that lead back to us."""

    def __init__(self, lifecycle: CallLifecycle, directory: Directory, urls: SignatureVerifier) -> None:
        self._lifecycle, self._directory, self._urls = lifecycle, directory, urls

    def connect(self, tenant: str, account: str, call: str, generation: int, attempt: int = 0) -> str:
        """A stream for the call, which is at that generation; ``tries`` have come to none before."""
        return twiml.connect(
            self._urls.stream_url(f"/twilio/media/{account}"),
            self._lifecycle.issue_stream_token(tenant, account, call, generation),
            redirect_url=self.public_url(f"/twilio/continue?g={generation}&k={attempt}"),
            status_callback=self.public_url(f"/twilio/stream?g={generation + 1}"),
        )

    def connect_stored(self, stored: StoredCall, attempt: int = 0) -> str:
        """The same, of a call as it was kept."""
        return self.connect(stored.tenant, stored.account_sid, stored.id, stored.generation, attempt)

    def public_url(self, path: str) -> str:
        """The public URL of a path."""
        return self._urls.url(path)

    def retry_later(self, request: TwilioRequest, path: str, **extra: str) -> str:
        """The store is away: ask again soon, with ``more`` of the form, but not for ever."""
        waits = request.query_int("w")
        if waits < MAX_RETRIES:
            query = {**request.query, **extra, "w": str(waits + 1)}
            return twiml.wait(DEFAULT_HOLD_MESSAGE, RETRY_DELAY_SECONDS, self.public_url(f"{path}?{urlencode(query)}"))
        found = self._directory.get_last_known(request.get("To"))
        if found is None or not found.forward_to:
            return twiml.say_and_hang_up(found.message if found else ERROR_MESSAGE)
        return twiml.forward(found.forward_to, caller_id=found.number, time_limit=found.max_transfer_seconds)

    async def stored_fallback_or_apology(self, stored: StoredCall) -> str:
        """Nothing helps any more: a plain transfer, where the number has a fallback, or a goodbye. It only reads."""
        found = await self._directory.get_resume_config(
            stored.tenant, stored.number, stored.flow, stored.version, stored.started_at
        )
        return fallback_or_apology(found, stored.caller) if found else twiml.say_and_hang_up(ERROR_MESSAGE)


def fallback_or_apology(config: CallConfig, caller: str) -> str:
    """What a caller (E.164, empty when withheld) gets whom the number's flow cannot serve."""
    if not config.fallback_number:
        return twiml.say_and_hang_up(config.tenant.error_message)
    longest = config.tenant.max_transfer_seconds
    return twiml.forward(config.fallback_number, caller_id=caller or config.number, time_limit=longest)
