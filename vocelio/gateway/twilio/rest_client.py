"""Twilio's REST API, as far as it is needed: an account's numbers and what they are set to, and its live calls.

All processes' worth of accounts share one client. It never blocks the event loop, gives up in bounded time, and has one
error: TwilioError. Everything that is asked may be asked twice with the same effect as once, and is, when Twilio is
busy or cannot be reached for a moment.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec
from twilio.base.exceptions import TwilioException

from vocelio.gateway.errors import TwilioError
from vocelio.gateway.store.provisioning.queue import Webhooks

REQUEST_TIMEOUT_SECONDS = 10.0  # of one try: Twilio answers within one as a rule
RETRY_DELAYS_SECONDS = (0.5, 2.0)  # seconds between three tries
PAGE_SIZE = 1_000  # numbers, the most that Twilio gives at once
NOT_FOUND_CODE = 20404
CALL_NOT_IN_PROGRESS_CODE = 21220  # https://www.twilio.com/docs/api/errors/21220


class AccountNumber(msgspec.Struct, frozen=True):
    """A number at Twilio. An ``application`` or a ``trunk`` answers its calls in place of the webhooks."""

    sid: str
    number: str
    name: str
    webhooks: Webhooks
    application: str = ""
    trunk: str = ""

    @property
    def override(self) -> str:
        """The SID of what answers in place of the webhooks, if there is such a thing."""
        return self.trunk or self.application


class TwilioClient:
    """The way to the API: at Twilio, or at ``server``, the origin of an emulator."""

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
        """An account by its credentials."""
        return TwilioAccountClient(self, account_sid, auth_token)

    async def sdk_client(self, account_sid: str, auth_token: str) -> Any:
        """The SDK's client. Its import takes 0.3 s, in which the event loop has better things to do."""
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

    async def iter_numbers(self) -> AsyncGenerator[AccountNumber, None]:
        """All its numbers."""
        client = await self._sdk_client()
        with _map_errors():
            async for one in await client.incoming_phone_numbers.stream_async(page_size=PAGE_SIZE):
                yield _to_account_number(one)

    async def find_number(self, number: str) -> AccountNumber | None:
        """A number (E.164), if the account has it. Twilio's filter also finds numbers that only contain it."""
        client = await self._sdk_client()
        with _map_errors():
            found = await client.incoming_phone_numbers.list_async(phone_number=number)
            return next((_to_account_number(one) for one in found if one.phone_number == number), None)

    async def set_webhooks(self, sid: str, webhooks: Webhooks) -> AccountNumber:
        """Set all of a number's webhooks, in one request: all of them, or none. What is empty is cleared."""
        client = await self._sdk_client()
        with _map_errors():
            return _to_account_number(
                await client.incoming_phone_numbers(sid).update_async(**msgspec.structs.asdict(webhooks))
            )

    async def hang_up_call(self, call: str) -> None:
        """End a call. One that is gone already is a success."""
        client = await self._sdk_client()
        try:
            with _map_errors():
                await client.calls(call).update_async(status="completed")
        except TwilioError as error:
            if error.code not in (NOT_FOUND_CODE, CALL_NOT_IN_PROGRESS_CODE):
                raise

    async def redirect_call(self, call: str, url: str) -> None:
        """Let a live call go on with the TwiML that is at ``url`` (POST); its stream, if it has one, ends."""
        client = await self._sdk_client()
        with _map_errors():
            await client.calls(call).update_async(url=url, method="POST")

    async def _sdk_client(self) -> Any:
        return await self._twilio_client.sdk_client(self.sid, self._auth_token)


@contextmanager
def _map_errors() -> Iterator[None]:
    """An answer that the SDK, or we, cannot read is Twilio's trouble as well."""
    try:
        yield
    except TwilioError:
        raise
    except (TwilioException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TwilioError(f"Twilio's API answered something that is not of it: {type(error).__name__}.") from error


def _to_account_number(resource: Any) -> AccountNumber:
    """From the SDK's. Fields that are not set are null or empty there."""
    webhooks = {
        name: getattr(resource, name) or "" for name in Webhooks.__struct_fields__ if not name.endswith("_method")
    }
    methods = {
        name: getattr(resource, name) or "POST" for name in Webhooks.__struct_fields__ if name.endswith("_method")
    }
    made = {
        "sid": resource.sid,
        "number": resource.phone_number,
        "name": resource.friendly_name or "",
        "webhooks": {**webhooks, **methods},
        "application": resource.voice_application_sid or "",
        "trunk": resource.trunk_sid or "",
    }
    return msgspec.convert(made, AccountNumber)
