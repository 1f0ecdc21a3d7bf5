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
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.call import SimulatedCall
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.script import SimulatedCaller, Step
from vocelio.gateway.simulator.events import CallEvent
from vocelio.gateway.simulator.load import LoadReport, StreamTarget
from vocelio.gateway.simulator.report import CallReport
from vocelio.gateway.simulator.signing import SharedKey, Signer
from vocelio.gateway.simulator.verbs.dial import Callees
from vocelio.gateway.simulator.verbs.enqueue import QueueScripts
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount
from vocelio.gateway.simulator.webhooks.client import WebhookClient

MAX_CALL_SECONDS = 300.0
"""Seconds after which a caller gives up, whatever happens."""


class TwilioSimulator:
    """Places calls to the gateway at ``server`` (an http:// origin), which the world knows as ``public_url``.

    Use it as an asynchronous context manager, or call ``aclose`` at the end. With the same ``rng`` state the same
    sids come out. ``media_server`` is where sockets are opened, if elsewhere: there an https:// origin is one with
    TLS, whose certificate is checked. With a ``shared_key`` it signs by HMAC-SHA256, without one with the auth token.
    """

    def __init__(
        self,
        server_url: str,
        public_url: str,
        account_sid: str,
        auth_token: str,
        *,
        media_server_url: str | None = None,
        shared_key: SharedKey | None = None,
        behavior: TwilioBehavior | None = None,
        voice_path: str = "/twilio/voice",
        status_path: str = "/twilio/status",
        fallback_path: str | None = None,
        rng: random.Random | None = None,
    ) -> None:
        parts = urlsplit(server_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{server_url!r} is not a plain http:// origin, which is all the simulator connects to")
        rng = rng or sids.new_rng()
        behavior = behavior or TwilioBehavior()
        signer = Signer(
            auth_token,
            shared_key,
            sign_fragments=behavior.signs_fragment,
            shared_key_signs_upgrades=behavior.shared_key_signs_upgrades,
        )
        self._account = SimulatedAccount(
            server_url=server_url,
            media_server_url=media_server_url or server_url,
            public_url=public_url.rstrip("/"),
            sid=account_sid,
            signer=signer,
            webhook_client=WebhookClient(server_url, signer, rng),
            rng=rng,
            behavior=behavior,
            voice_path=voice_path,
            status_path=status_path,
            fallback_path=fallback_path,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what is open. Calls under way are their callers' to cancel."""
        await self._account.webhook_client.aclose()

    async def call(
        self,
        to: str,
        from_: str,
        caller: SimulatedCaller | Sequence[Step] = (),
        *,
        callees: Callees = (),
        queue_scripts: QueueScripts = (),
        max_seconds: float = MAX_CALL_SECONDS,
        recording_path: Path | None = None,
        on_event: Callable[[CallEvent], None] | None = None,
    ) -> CallReport:
        """Place a call and see it through; ``recording`` is where a stereo WAV of it is written.

        ``dials`` says who answers when Twilio rings them, ``queues`` how the caller leaves a queue.

        What the gateway does wrong is in the report. Raises only what is wrong on this side: SpeechError, ValueError
        and OSError for steps that cannot be rendered and a recording that cannot be written.
        """
        person = caller if isinstance(caller, SimulatedCaller) else SimulatedCaller(tuple(caller))
        cues = await person.prerender(self._account.rng)
        record = CallLog(sids.new_sid("CA", self._account.rng), on_event or _ignore_event)
        call = SimulatedCall(self._account, record, to, from_, callees, queue_scripts)
        report = await call.run(person, cues, max_seconds)
        if recording_path is not None:
            call.write_recording(recording_path)
        return report

    async def start_call(self, to: str, from_: str) -> StreamTarget:
        """Only ask the voice webhook: the stream that it wants opened. Raises CarrierError."""
        return await load.start_call(self._account, to, from_)

    def bare_stream(self, url: str, parameters: Mapping[str, str] | None = None) -> StreamTarget:
        """A stream of no call that any webhook knows of: for servers that answer none, such as a bare echo."""
        return StreamTarget(sids.new_sid("CA", self._account.rng), url, parameters or {})

    async def stream(self, target: StreamTarget, audio: bytes, seconds: float) -> LoadReport:
        """Only open the ticket's socket and send ``audio`` (mu-law, repeated) for ``seconds``. Raises CarrierError."""
        return await load.stream(self._account, target, audio, seconds)


def _ignore_event(_: CallEvent) -> None:
    pass
