"""Client of Twilio's REST API: an account's numbers with their webhooks, and its live calls.

All accounts share one client per process. It never blocks the event loop, takes a bounded time, and raises only
TwilioError. All requests are idempotent, and are retried when Twilio is busy or cannot be reached for a moment.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec
from twilio.base.exceptions import TwilioException

from vocelio.gateway.errors import TwilioError
from vocelio.gateway.store.number_provisioning import Webhooks

REQUEST_TIMEOUT_SECONDS = 10.0  # of one attempt: Twilio usually answers within one second
RETRY_DELAYS_SECONDS = (0.5, 2.0)  # between three attempts
PAGE_SIZE = 1_000  # numbers: Twilio's maximum
NOT_FOUND_CODE = 20404
HTTPS_HINT = "Set VOCELIO_PUBLIC_URL to the https origin under which Twilio reaches the gateway."
CALL_NOT_IN_PROGRESS_CODE = 21220  # https://www.twilio.com/docs/api/errors/21220


class AccountNumber(msgspec.Struct, frozen=True):
    """A number at Twilio. An application or a SIP trunk, if set, answers its calls instead of the webhooks."""

    sid: str
    number: str
    friendly_name: str
    webhooks: Webhooks
    application_sid: str = ""
    trunk_sid: str = ""

    @property
    def override_sid(self) -> str:
        """The SID of the trunk or application that answers instead of the webhooks; empty if there is none."""
        return self.trunk_sid or self.application_sid


class TwilioClient:
    """Client of the API at Twilio, or at ``origin``.

    ``origin`` is the only way to use an emulator, and no setting reaches it: `vocelio serve` always asks Twilio itself.
    """

    def __init__(
        self,
        origin: str = "",
        *,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
    ) -> None:
        self._origin, self._timeout_seconds, self._retry_delays_seconds = origin, timeout_seconds, retry_delays_seconds
        self._sdk: Any = None
        self._http_client: Any = None
        self._load_lock = asyncio.Lock()

    def account_client(self, account_sid: str, auth_token: str) -> "TwilioAccountClient":
        """Return a client with the credentials of an account."""
        return TwilioAccountClient(self, account_sid, auth_token)

    async def sdk_client(self, account_sid: str, auth_token: str) -> Any:
        """Return the SDK's client. Importing the SDK takes 0.3 s, so it runs in a thread."""
        async with self._load_lock:
            if self._http_client is None:
                self._sdk = await asyncio.to_thread(import_module, "vocelio.gateway.twilio.http_client")
                self._http_client = self._sdk.RetryingTwilioHttpClient(
                    self._origin, self._timeout_seconds, self._retry_delays_seconds
                )
        return self._sdk.Client(account_sid, auth_token, http_client=self._http_client)

    async def aclose(self) -> None:
        """Close the connections."""
        http, self._http_client = self._http_client, None
        if http is not None:
            await http.close()


class TwilioAccountClient:
    """One account. Every method raises TwilioError, and nothing else."""

    def __init__(self, client: TwilioClient, account_sid: str, auth_token: str) -> None:
        self.sid = account_sid
        self._twilio_client, self._auth_token = client, auth_token

    async def get_status(self) -> str:
        """Return the account's status: ``active``, ``suspended`` or ``closed``."""
        client = await self._sdk_client()
        with _map_errors():
            return str((await client.api.accounts(self.sid).fetch_async()).status)

    async def iter_numbers(self) -> AsyncGenerator[AccountNumber, None]:
        """Iterate over all numbers of the account."""
        client = await self._sdk_client()
        with _map_errors():
            async for resource in await client.incoming_phone_numbers.stream_async(page_size=PAGE_SIZE):
                yield _to_account_number(resource)

    async def find_number(self, number: str) -> AccountNumber | None:
        """Find a number (E.164). Twilio's filter also matches numbers that only contain it."""
        client = await self._sdk_client()
        with _map_errors():
            resources = await client.incoming_phone_numbers.list_async(phone_number=number)
            return next((_to_account_number(each) for each in resources if each.phone_number == number), None)

    async def set_webhooks(self, sid: str, webhooks: Webhooks) -> AccountNumber:
        """Set all of a number's webhooks with one request. Empty ones are cleared; others must be https."""
        require_https(webhooks.voice_url, webhooks.voice_fallback_url, webhooks.status_callback)
        return await self.restore_webhooks(sid, webhooks)

    async def restore_webhooks(self, sid: str, webhooks: Webhooks) -> AccountNumber:
        """Set a number's webhooks to what they were before the gateway's, whatever their scheme."""
        client = await self._sdk_client()
        with _map_errors():
            return _to_account_number(
                await client.incoming_phone_numbers(sid).update_async(**msgspec.structs.asdict(webhooks))
            )

    async def hang_up_call(self, call: str) -> None:
        """End a call. Succeeds if the call has already ended."""
        client = await self._sdk_client()
        try:
            with _map_errors():
                await client.calls(call).update_async(status="completed")
        except TwilioError as error:
            if error.code not in (NOT_FOUND_CODE, CALL_NOT_IN_PROGRESS_CODE):
                raise

    async def redirect_call(self, call: str, url: str) -> None:
        """Continue a live call with the TwiML at ``url`` (https, POST); its stream, if any, ends."""
        require_https(url)
        client = await self._sdk_client()
        with _map_errors():
            await client.calls(call).update_async(url=url, method="POST")

    async def _sdk_client(self) -> Any:
        return await self._twilio_client.sdk_client(self.sid, self._auth_token)


def require_https(*urls: str) -> None:
    """Check that these URLs may be set at Twilio; empty ones may. Raises TwilioError."""
    for url in urls:
        if url and not url.startswith("https://"):
            raise TwilioError(f"{url} is not https, so it is not set at Twilio. {HTTPS_HINT}")


@contextmanager
def _map_errors() -> Iterator[None]:
    """Map a response that cannot be decoded to TwilioError as well."""
    try:
        yield
    except TwilioError:
        raise
    except (TwilioException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TwilioError(f"Twilio's API sent an invalid response: {type(error).__name__}.") from error


def _to_account_number(resource: Any) -> AccountNumber:
    """Convert a resource of the SDK; unset fields are null or empty there."""
    webhooks = {
        name: getattr(resource, name) or "" for name in Webhooks.__struct_fields__ if not name.endswith("_method")
    }
    methods = {
        name: getattr(resource, name) or "POST" for name in Webhooks.__struct_fields__ if name.endswith("_method")
    }
    values = {
        "sid": resource.sid,
        "number": resource.phone_number,
        "friendly_name": resource.friendly_name or "",
        "webhooks": {**webhooks, **methods},
        "application_sid": resource.voice_application_sid or "",
        "trunk_sid": resource.trunk_sid or "",
    }
    return msgspec.convert(values, AccountNumber)
