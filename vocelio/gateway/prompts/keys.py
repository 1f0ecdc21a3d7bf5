"""Where a rendered sentence is kept: by what it is made of, so that the same is made once and what differs never mixes.

Provider, voice, language and speed are in it, what would be spoken instead (``fallbacks``) is not.
"""

from collections.abc import Mapping
from hashlib import sha256

from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.speech.elevenlabs.synthesizer import FLASH

FORMAT = "1"
"""Of the sound: mu-law, 8,000 samples a second. Another makes everything be rendered anew."""


RECIPES: Mapping[Tier, str] = {"elevenlabs": FLASH}
"""What of a provider's own settings is heard, too: its sound is another when this is."""


def fingerprint(voice: Voice) -> str:
    """What of a voice is heard: ``azure/en-US-AvaNeural/en-US/1.0/``."""
    recipe = RECIPES.get(voice.tier, "")
    return f"{voice.tier}/{voice.name}/{voice.language}/{float(voice.speed)}/{voice.style}/{recipe}"


def address(voice_fingerprint: str, sentence: str) -> str:
    """64 hexadecimal digits."""
    return sha256(f"{FORMAT}\0{voice_fingerprint}\0{sentence}".encode()).hexdigest()


def path(tenant: str, one: str) -> str:
    """The object of a tenant's sentence."""
    return f"prompts/{tenant}/{one}.ulaw"
