"""How one webhook is to be asked: Twilio's connection overrides, in the fragment of its URL (``#ct=500&rc=3``).

The names and limits are Twilio's (twilio.com/docs/usage/webhooks/webhooks-connection-overrides). What cannot be read
is as if it were not there, but for ``rp``, which Twilio answers with error 11243.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urldefrag

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError

CONNECT_LIMITS_MS: Final = (100, 5_000, 10_000)
READ_LIMITS_MS: Final = (100, 15_000, 15_000)
TOTAL_LIMITS_MS: Final = (100, 15_000, 15_000)
RETRY_LIMITS: Final = (0, 1, 5)
"""The least, the default and the most of ``ct``, ``rt``, ``tt`` and ``rc``; more than the most is the most."""

RETRY_POLICIES: Final = frozenset({"ct", "rt", "4xx", "5xx", "all"})
"""What may be retried: no connection, no answer in time, an answer with such a status, or all of these."""

DEFAULT_RETRY_POLICIES: Final = frozenset({"ct"})


@dataclass(frozen=True, slots=True)
class ConnectionOverrides:
    """Limits in seconds: to connect, for each part of the answer, and for all attempts together."""

    connect_seconds: float
    read_seconds: float
    total_seconds: float
    max_retries: int
    retry_policies: frozenset[str]

    def should_retry(self, failure: str) -> bool:
        """Whether to try again after a failure: ``ct``, ``rt`` or the class of a status, such as ``5xx``."""
        return failure in self.retry_policies or ("all" in self.retry_policies and failure in RETRY_POLICIES)


def parse_overrides(url: str) -> ConnectionOverrides:
    """Those in the URL's fragment, and the defaults. Raises CarrierError."""
    fragment = parse_qs(urldefrag(url).fragment)
    policy = frozenset(fragment["rp"][0].split(",")) if "rp" in fragment else DEFAULT_RETRY_POLICIES
    if policy - RETRY_POLICIES:
        raise TwilioSimError(
            error_codes.RETRY_POLICY, f"{', '.join(sorted(policy - RETRY_POLICIES))} is no policy of retries"
        )
    return ConnectionOverrides(
        connect_seconds=_parse_number(fragment, "ct", CONNECT_LIMITS_MS) / 1000,
        read_seconds=_parse_number(fragment, "rt", READ_LIMITS_MS) / 1000,
        total_seconds=_parse_number(fragment, "tt", TOTAL_LIMITS_MS) / 1000,
        max_retries=_parse_number(fragment, "rc", RETRY_LIMITS),
        retry_policies=policy,
    )


def _parse_number(fragment: Mapping[str, list[str]], name: str, limits: tuple[int, int, int]) -> int:
    least, default, most = limits
    value = fragment.get(name, [""])[0]
    return max(least, min(most, int(value[:9]))) if value.isascii() and value.isdigit() else default
