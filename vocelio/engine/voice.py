"""How a flow sounds: the voice settings of a flow, a node or a tenant."""

from typing import Literal

import msgspec

Tier = Literal["local", "azure", "elevenlabs"]


class Voice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One voice: the tier it is bought at, its name there, and how fast it speaks (1.0 is its normal speed)."""

    tier: Tier = "local"
    name: str = "en-us"
    language: str = "en-US"
    speed: float = 1.0
