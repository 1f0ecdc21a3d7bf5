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

SECONDS = 10.0  # of one try: Twilio answers within one as a rule
PAUSES = (0.5, 2.0)  # seconds between three tries
PAGE = 1_000  # numbers, the most that Twilio gives at once
NO_SUCH_THING = 20404
NOT_IN_PROGRESS = 21220  # https://www.twilio.com/docs/api/errors/21220


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


class Rest:
    """The way to the API: at Twilio, or at ``server``, the origin of an emulator."""

    def __init__(self, server: str = "", *, seconds: float = SECONDS, pauses: Sequence[float] = PAUSES) -> None:
        self._server, self._seconds, self._pauses = server, seconds, pauses
        self._sdk: Any = None
        self._http: Any = None
        self._loading = asyncio.Lock()

    def account(self, account: str, token: str) -> "Account":
        """An account by its credentials."""
        return Account(self, account, token)

    async def client(self, account: str, token: str) -> Any:
        """The SDK's client. Its import takes 0.3 s, in which the event loop has better things to do."""
        async with self._loading:
            if self._http is None:
                self._sdk = await asyncio.to_thread(import_module, "vocelio.gateway.twilio.http_client")
                self._http = self._sdk.Http(self._server, self._seconds, self._pauses)
        return self._sdk.Client(account, token, http_client=self._http)

    async def aclose(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()


class Account:
    """One account. Every method raises TwilioError, and nothing else."""

    def __init__(self, rest: Rest, account: str, token: str) -> None:
        self.sid = account
        self._rest, self._token = rest, token

    async def numbers(self) -> AsyncGenerator[AccountNumber, None]:
        """All its numbers."""
        client = await self._client()
        with _understood():
            async for one in await client.incoming_phone_numbers.stream_async(page_size=PAGE):
                yield _number(one)

    async def find(self, number: str) -> AccountNumber | None:
        """A number (E.164), if the account has it. Twilio's filter also finds numbers that only contain it."""
        client = await self._client()
        with _understood():
            found = await client.incoming_phone_numbers.list_async(phone_number=number)
            return next((_number(one) for one in found if one.phone_number == number), None)

    async def configure(self, sid: str, webhooks: Webhooks) -> AccountNumber:
        """Set all of a number's webhooks, in one request: all of them, or none. What is empty is cleared."""
        client = await self._client()
        with _understood():
            return _number(await client.incoming_phone_numbers(sid).update_async(**msgspec.structs.asdict(webhooks)))

    async def hang_up(self, call: str) -> None:
        """End a call. One that is gone already is a success."""
        client = await self._client()
        try:
            with _understood():
                await client.calls(call).update_async(status="completed")
        except TwilioError as error:
            if error.code not in (NO_SUCH_THING, NOT_IN_PROGRESS):
                raise

    async def redirect(self, call: str, url: str) -> None:
        """Let a live call go on with the TwiML that is at ``url`` (POST); its stream, if it has one, ends."""
        client = await self._client()
        with _understood():
            await client.calls(call).update_async(url=url, method="POST")

    async def _client(self) -> Any:
        return await self._rest.client(self.sid, self._token)


@contextmanager
def _understood() -> Iterator[None]:
    """An answer that the SDK, or we, cannot read is Twilio's trouble as well."""
    try:
        yield
    except TwilioError:
        raise
    except (TwilioException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TwilioError(f"Twilio's API answered something that is not of it: {type(error).__name__}.") from error


def _number(one: Any) -> AccountNumber:
    """From the SDK's. Fields that are not set are null or empty there."""
    webhooks = {name: getattr(one, name) or "" for name in Webhooks.__struct_fields__ if not name.endswith("_method")}
    methods = {name: getattr(one, name) or "POST" for name in Webhooks.__struct_fields__ if name.endswith("_method")}
    made = {
        "sid": one.sid,
        "number": one.phone_number,
        "name": one.friendly_name or "",
        "webhooks": {**webhooks, **methods},
        "application": one.voice_application_sid or "",
        "trunk": one.trunk_sid or "",
    }
    return msgspec.convert(made, AccountNumber)
