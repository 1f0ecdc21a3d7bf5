"""One account of the simulated Twilio: credentials, configuration of its numbers, and behavior."""

import random
from dataclasses import dataclass

from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.simulator.signing import Signer
from vocelio.gateway.simulator.webhooks.client import WebhookClient

API_VERSION = "2010-04-01"


@dataclass(frozen=True, slots=True)
class SimulatedAccount:
    """State shared by all calls of one account.

    Webhooks connect to ``server_url`` and sockets to ``media_server_url`` (usually the same); ``public_url`` is signed.
    ``voice_path``, ``status_path`` and ``fallback_path`` are the configuration of the account's numbers.
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
        """Return the fields of every webhook of an incoming call, without its status."""
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
