"""Voice settings of a flow, a node or a tenant."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Tier = Literal["local", "azure", "elevenlabs"]
Language = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="a language such as en-US")]
Style = Annotated[str, Meta(pattern=r"^[A-Za-z-]{0,40}$", description="a voice's style such as cheerful")]


class Voice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One voice: its tier, its name on that tier, and its speed (1.0 is normal).

    ``style`` is supported by some Azure voices ("cheerful", "customerservice") and ignored by others. ``fallbacks`` are
    the voices to use on other tiers when this one is unavailable, best first; they have no fallbacks of their own.
    """

    tier: Tier = "local"
    name: Annotated[str, Meta(max_length=100)] = "en-us"
    language: Language = "en-US"
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    fallbacks: Annotated[tuple["Voice", ...], Meta(max_length=2)] = ()
    style: Style = ""
