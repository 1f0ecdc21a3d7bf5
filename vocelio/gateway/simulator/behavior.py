"""What is not verified of Twilio's behaviour, as switches, and the delays that belong to it.

The defaults are the kind behaviour (the call goes on) at the pace that others measured on real calls. What a live
account has to show, and which default is to be changed then, is in docs/twilio-verification.md.
"""

from dataclasses import dataclass
from typing import Literal

from vocelio.gateway.simulator import error_codes

Continuation = Literal["go_on", "hang_up"]
"""What follows trouble with a stream: the next verb, or the call's end."""


@dataclass(frozen=True, slots=True)
class TwilioBehavior:
    """How this Twilio behaves where the documentation is silent.

    ``after_loss``: what follows when the socket breaks without a close frame (31903). ``notice_loss``: seconds until
    the break is noticed. ``notice_half_open``: seconds for which nothing comes from a server, not even the answer to
    a ping, until its socket is taken for lost; None: for ever, so the call is dumb until somebody hangs up.

    ``after_failed_connect``: what follows when a socket could not be opened; one kind of failure may have a switch of
    its own: ``after_connect_timeout`` (31901), ``after_refusal`` (31902), ``after_tls_failure`` (31910) and
    ``after_failed_handshake`` (31920, not a 101). ``connect_seconds``: how long an upgrade may take.
    ``next_connect``: seconds between the end of one stream and the next one's connect (730 ms were measured on real
    calls).

    ``say_rate``: characters a second at which ``<Say>`` is read. ``signs_fragment``: whether a webhook's fragment
    (``#rc=3``) is part of what is signed. ``shared_key_signs_upgrades``: whether a shared key also signs a socket's
    upgrade, or the auth token still does.
    """

    after_stream_loss: Continuation = "go_on"
    detect_loss_seconds: float = 0.0
    detect_half_open_seconds: float | None = None
    after_connect_failure: Continuation = "go_on"
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
        """What follows a connect that failed with one of Twilio's codes."""
        own: dict[int, Continuation | None] = {
            error_codes.STREAM_TIMEOUT: self.after_connect_timeout,
            error_codes.STREAM_REFUSED: self.after_connection_refused,
            error_codes.STREAM_TLS: self.after_tls_failure,
            error_codes.STREAM_HANDSHAKE: self.after_handshake_failure,
        }
        return own.get(code) or self.after_connect_failure
