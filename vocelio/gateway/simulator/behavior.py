"""Twilio's unverified behavior as switches, and the delays that belong to it.

The defaults are the favorable behavior (the call continues) with delays measured on real calls.
docs/twilio-verification.md says how a live account settles each switch.
"""

from dataclasses import dataclass
from typing import Literal

from vocelio.gateway.simulator import error_codes

Continuation = Literal["continue", "hang_up"]
"""What follows a failed or lost stream: the next verb, or the end of the call."""


@dataclass(frozen=True, slots=True)
class TwilioBehavior:
    """How the simulated Twilio behaves where Twilio's documentation is silent.

    Attributes:
        after_stream_loss: after a socket that ended without a close frame (31903).
        detect_loss_seconds: until such a loss is detected.
        detect_half_open_seconds: for which a server may send nothing, not even a pong, until its socket counts as lost;
            None: forever, so the call is silent until one side hangs up.
        after_connect_failure: after a socket that could not be opened, unless the kind of failure has its own switch:
            ``after_connect_timeout`` (31901), ``after_connection_refused`` (31902), ``after_tls_failure`` (31910),
            ``after_handshake_failure`` (31920: a status other than 101).
        connect_timeout_seconds: for an upgrade.
        reconnect_delay_seconds: between the end of one stream and the next connect (730 ms measured on real calls).
        say_characters_per_second: speed of ``<Say>``.
        signs_fragment: whether the signature of a webhook covers the URL's fragment (``#rc=3``).
        shared_key_signs_upgrades: whether a shared key also signs the upgrade of a socket; else the auth token does.
    """

    after_stream_loss: Continuation = "continue"
    detect_loss_seconds: float = 0.0
    detect_half_open_seconds: float | None = None
    after_connect_failure: Continuation = "continue"
    after_connect_timeout: Continuation | None = None
    after_connection_refused: Continuation | None = None
    after_tls_failure: Continuation | None = None
    after_handshake_failure: Continuation | None = None
    connect_timeout_seconds: float = 5.0
    reconnect_delay_seconds: float = 0.73
    say_characters_per_second: float = 15.0
    signs_fragment: bool = False
    shared_key_signs_upgrades: bool = True

    def after_connect_error(self, code: int) -> Continuation:
        """Return what follows a connect that failed with this Twilio error code."""
        by_code: dict[int, Continuation | None] = {
            error_codes.STREAM_TIMEOUT: self.after_connect_timeout,
            error_codes.STREAM_REFUSED: self.after_connection_refused,
            error_codes.STREAM_TLS: self.after_tls_failure,
            error_codes.STREAM_HANDSHAKE: self.after_handshake_failure,
        }
        return by_code.get(code) or self.after_connect_failure
