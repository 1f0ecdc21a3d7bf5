"""One account at the simulated Twilio: its credentials, where its numbers point, and how this Twilio behaves."""

import random
from dataclasses import dataclass

from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.simulator.webhooks.client import WebhookClient

API_VERSION = "2010-04-01"


@dataclass(frozen=True, slots=True)
class SimulatedAccount:
    """What all calls of one carrier share. ``server`` is connected to, ``public_url`` is signed.

    ``media_server`` is where sockets are opened: mostly the same.

    ``voice``, ``status`` and ``fallback`` are the paths that the account's numbers are configured with.
    """

    server_url: str
    media_server_url: str
    public_url: str
    sid: str
    signer: Signer
    webhook_client: WebhookClient
    rng: random.Random
    behavior: TwilioBehavior
    voice_path: str
    status_path: str
    fallback_path: str | None

    def call_fields(self, call_sid: str, to: str, from_: str) -> dict[str, str]:
        """The fields that every webhook of an incoming call carries, but for its status."""
        return {
            "CallSid": call_sid,
            "AccountSid": self.sid,
            "ApiVersion": API_VERSION,
            "Direction": "inbound",
            "From": from_,
            "Caller": from_,
            "To": to,
            "Called": to,
        }
