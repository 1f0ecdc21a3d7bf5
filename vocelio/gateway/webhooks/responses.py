"""TwiML responses that several webhooks share: connect a stream, retry later, fallback or apology."""

from vocelio.gateway.calls.lifecycle import CallLifecycle
from vocelio.gateway.model.directory import CallConfig, Directory
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import StoredCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks import urls
from vocelio.gateway.webhooks.signed_form import TwilioRequest
from vocelio.gateway.webhooks.urls import RetriedPath, WebhookUrls

ERROR_MESSAGE = "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
MAX_RETRIES = 2  # times that a caller waits for the database: with its query timeout about ten seconds
RETRY_DELAY_SECONDS = 1
DEFAULT_HOLD_MESSAGE = Tenant(id="nobody", name="nobody").hold_message


class TwimlResponses:
    """Builds TwiML documents with the URLs that lead back to the gateway."""

    def __init__(self, lifecycle: CallLifecycle, directory: Directory, webhook_urls: WebhookUrls) -> None:
        self._lifecycle, self._directory, self.urls = lifecycle, directory, webhook_urls

    def connect(self, tenant: str, account: str, call: str, generation: int, stream_attempt: int = 0) -> str:
        """Connect a call to a new stream.

        Args:
            tenant: The call's tenant.
            account: The Twilio account that sent the call.
            call: The call's SID.
            generation: The call's present generation; the new stream has the next one.
            stream_attempt: How many streams in a row were offered before without success.
        """
        return twiml.connect(
            self.urls.media_stream(account),
            self._lifecycle.issue_stream_token(tenant, account, call, generation),
            redirect_url=self.urls.continuation(generation, stream_attempt),
            status_callback=self.urls.stream_status(generation + 1),
        )

    def connect_stored(self, stored: StoredCall, stream_attempt: int = 0) -> str:
        """Connect a stored call to a new stream."""
        return self.connect(stored.tenant, stored.account_sid, stored.id, stored.generation, stream_attempt)

    def ask_to_continue(self, stored: StoredCall) -> str:
        """Let Twilio request what follows the call's latest stream: nobody else can sign that request."""
        return twiml.redirect(self.urls.continuation(stored.generation - 1, 0))

    def retry_later(self, request: TwilioRequest, path: RetriedPath, **form_fields: str) -> str:
        """Let Twilio repeat the request because the database is unavailable; after MAX_RETRIES, forward or give up.

        ``form_fields`` are added to the query, since the repeated request does not have them in its form.
        """
        retries = request.query_int(urls.RETRY)
        if retries < MAX_RETRIES:
            url = self.urls.retry(path, {**request.query, **form_fields}, retries + 1)
            return twiml.wait(DEFAULT_HOLD_MESSAGE, RETRY_DELAY_SECONDS, url)
        config = self._directory.get_last_known(request.get("To"))
        if config is None or not config.forward_to:
            return twiml.say_and_hang_up(config.message if config else ERROR_MESSAGE)
        return twiml.forward(config.forward_to, caller_id=config.number, time_limit=config.max_transfer_seconds)

    async def stored_fallback_or_apology(self, stored: StoredCall) -> str:
        """Forward a call that cannot be resumed to its number's fallback, or apologize. Only reads."""
        config = await self._directory.get_resume_config(
            stored.tenant, stored.number, stored.flow, stored.version, stored.started_at
        )
        return fallback_or_apology(config, stored.caller) if config else twiml.say_and_hang_up(ERROR_MESSAGE)


def fallback_or_apology(config: CallConfig, caller: str) -> str:
    """Forward a call that its flow cannot serve to the number's fallback, or apologize.

    ``caller`` is E.164, empty when withheld.
    """
    if not config.fallback_number:
        return twiml.say_and_hang_up(config.tenant.error_message)
    time_limit = config.tenant.max_transfer_seconds
    return twiml.forward(config.fallback_number, caller_id=caller or config.number, time_limit=time_limit)
