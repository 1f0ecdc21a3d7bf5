"""Public interface of the simulated Twilio: an account that places calls to one gateway.

``call`` runs a complete call with a caller who listens and answers. ``start_call`` and ``stream`` are for load tests:
only the voice webhook, and only the media socket, without a caller.
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
"""Default maximum duration of a call."""


class TwilioSimulator:
    """Places calls to the gateway at ``server_url`` (an http:// origin), whose public origin is ``public_url``.

    Use it as an asynchronous context manager, or call ``aclose``. The state of ``rng`` determines all SIDs.
    ``media_server_url`` is the origin of media sockets if it differs; an https:// origin uses TLS and its certificate
    is verified. Signatures use the ``shared_key`` (HMAC-SHA256) if given, else the auth token.
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
            raise ValueError(f"{server_url!r} is not an http:// origin; the simulator connects to no other")
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
        """Close the HTTP session. Running calls must be cancelled by their callers."""
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
        """Place a call, run it to its end and return the report, which contains every error of the gateway.

        Args:
            to: the number that is called.
            from_: the caller's number.
            caller: the caller, or the steps of a caller without a voice.
            callees: outcome of each number that Twilio dials.
            queue_scripts: how each stay in a queue ends.
            max_seconds: after which the caller hangs up.
            recording_path: file for a stereo WAV of the call.
            on_event: called with every event, for a live display.

        Raises:
            SpeechError, ValueError, OSError: if a step cannot be rendered or the recording cannot be written.
        """
        simulated_caller = caller if isinstance(caller, SimulatedCaller) else SimulatedCaller(tuple(caller))
        steps = await simulated_caller.prerender(self._account.rng)
        call_log = CallLog(sids.new_sid("CA", self._account.rng), on_event or _ignore_event)
        call = SimulatedCall(self._account, call_log, to, from_, callees, queue_scripts)
        report = await call.run(simulated_caller, steps, max_seconds)
        if recording_path is not None:
            call.write_recording(recording_path)
        return report

    async def start_call(self, to: str, from_: str) -> StreamTarget:
        """Request the voice webhook only; return the stream of its TwiML. Raises TwilioSimError."""
        return await load.start_call(self._account, to, from_)

    def bare_stream(self, url: str, parameters: Mapping[str, str] | None = None) -> StreamTarget:
        """Create a stream without a webhook, for servers that have none, such as a bare echo."""
        return StreamTarget(sids.new_sid("CA", self._account.rng), url, parameters or {})

    async def stream(self, target: StreamTarget, audio: bytes, seconds: float) -> LoadReport:
        """Open the target's socket and send ``audio`` (mu-law, repeated) for ``seconds``. Raises TwilioSimError."""
        return await load.stream(self._account, target, audio, seconds)


def _ignore_event(_: CallEvent) -> None:
    pass
