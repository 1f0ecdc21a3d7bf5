"""What is not verified of Twilio's behaviour, as switches, and the delays that belong to it.

The defaults are the kind behaviour (the call goes on) at the pace that others measured on real calls.
"""

from dataclasses import dataclass
from typing import Literal

Then = Literal["go_on", "hang_up"]


@dataclass(frozen=True, slots=True)
class Switches:
    """How this Twilio behaves where the documentation is silent.

    ``after_loss``: what follows when the socket breaks without a close frame (31903): the next verb, or the call's
    end. ``notice_loss``: seconds until the break is noticed. ``after_failed_connect``: the same for a socket that
    could not be opened (31901, 31902, 31920). ``next_connect``: seconds between the end of one stream and the next
    one's connect (730 ms were measured on real calls). ``say_rate``: characters a second at which ``<Say>`` is read.
    ``signs_fragment``: whether a webhook's fragment (``#rc=3``) is part of what is signed.
    ``shared_key_signs_upgrades``: whether a shared key also signs a socket's upgrade, or the auth token still does.
    """

    after_loss: Then = "go_on"
    notice_loss: float = 0.0
    after_failed_connect: Then = "go_on"
    next_connect: float = 0.73
    say_rate: float = 15.0
    signs_fragment: bool = False
    shared_key_signs_upgrades: bool = True
