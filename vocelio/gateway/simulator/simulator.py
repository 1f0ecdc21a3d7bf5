"""The simulated Twilio, as its users hold it: an account that places calls to one gateway.

``call`` is a whole call with a caller who listens and answers. ``ring`` and ``stream`` are the light way for load:
only the webhook and only the socket, with the same line behind it, but nobody listening.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from vocelio.gateway.simulator import load, sids
from vocelio.gateway.simulator.behavior import Switches
from vocelio.gateway.simulator.call import Call
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.caller.script import Caller, Step
from vocelio.gateway.simulator.load import LoadReport, Ticket
from vocelio.gateway.simulator.report.events import Event
from vocelio.gateway.simulator.report.report import CallReport
from vocelio.gateway.simulator.signing import SharedKey, Signer
from vocelio.gateway.simulator.verbs.dial import Dials
from vocelio.gateway.simulator.verbs.enqueue import Queues
from vocelio.gateway.simulator.webhooks.account import Account
from vocelio.gateway.simulator.webhooks.client import Poster

LONGEST_CALL = 300.0
"""Seconds after which a caller gives up, whatever happens."""


class Carrier:
    """Places calls to the gateway at ``server`` (an http:// origin), which the world knows as ``public_url``.

    Use it as an asynchronous context manager, or call ``aclose`` at the end. With the same ``rng`` state the same
    sids come out. ``media_server`` is where sockets are opened, if elsewhere: there an https:// origin is one with
    TLS, whose certificate is checked. With a ``shared_key`` it signs by HMAC-SHA256, without one with the auth token.
    """

    def __init__(
        self,
        server: str,
        public_url: str,
        account_sid: str,
        auth_token: str,
        *,
        media_server: str | None = None,
        shared_key: SharedKey | None = None,
        switches: Switches | None = None,
        voice: str = "/twilio/voice",
        status: str = "/twilio/status",
        fallback: str | None = None,
        rng: random.Random | None = None,
    ) -> None:
        parts = urlsplit(server)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{server!r} is not a plain http:// origin, which is all the simulator connects to")
        rng = rng or sids.source()
        switches = switches or Switches()
        signer = Signer(
            auth_token,
            shared_key,
            fragments=switches.signs_fragment,
            upgrades=switches.shared_key_signs_upgrades,
        )
        self._account = Account(
            server=server,
            media_server=media_server or server,
            public_url=public_url.rstrip("/"),
            sid=account_sid,
            signer=signer,
            poster=Poster(server, signer, rng),
            rng=rng,
            switches=switches,
            voice=voice,
            status=status,
            fallback=fallback,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what is open. Calls under way are their callers' to cancel."""
        await self._account.poster.aclose()

    async def call(
        self,
        to: str,
        from_: str,
        caller: Caller | Sequence[Step] = (),
        *,
        dials: Dials = (),
        queues: Queues = (),
        longest: float = LONGEST_CALL,
        recording: Path | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> CallReport:
        """Place a call and see it through; ``recording`` is where a stereo WAV of it is written.

        ``dials`` says who answers when Twilio rings them, ``queues`` how the caller leaves a queue.

        What the gateway does wrong is in the report. Raises only what is wrong on this side: SpeechError, ValueError
        and OSError for steps that cannot be rendered and a recording that cannot be written.
        """
        person = caller if isinstance(caller, Caller) else Caller(tuple(caller))
        cues = await person.rehearse(self._account.rng)
        record = Record(sids.sid("CA", self._account.rng), on_event or _nobody_watches)
        call = Call(self._account, record, to, from_, dials, queues)
        report = await call.run(person, cues, longest)
        if recording is not None:
            call.write(recording)
        return report

    async def ring(self, to: str, from_: str) -> Ticket:
        """Only ask the voice webhook: the stream that it wants opened. Raises CarrierError."""
        return await load.ring(self._account, to, from_)

    def ticket(self, url: str, parameters: Mapping[str, str] | None = None) -> Ticket:
        """A stream of no call that any webhook knows of: for servers that answer none, such as a bare echo."""
        return Ticket(sids.sid("CA", self._account.rng), url, parameters or {})

    async def stream(self, ticket: Ticket, audio: bytes, seconds: float) -> LoadReport:
        """Only open the ticket's socket and send ``audio`` (mu-law, repeated) for ``seconds``. Raises CarrierError."""
        return await load.stream(self._account, ticket, audio, seconds)


def _nobody_watches(_: Event) -> None:
    pass
