"""Where a rendered sentence is kept: by what it is made of, so that the same is made once and what differs never mixes.

Provider, voice, language and speed are in it, what would be spoken instead (``fallbacks``) is not.
"""

from collections.abc import Mapping
from hashlib import sha256

from vocelio.engine.voice import Tier, Voice
from vocelio.gateway.speech.elevenlabs.synthesizer import FLASH_MODEL

AUDIO_FORMAT_VERSION = "1"
"""Of the sound: mu-law, 8,000 samples a second. Another makes everything be rendered anew."""


MODEL_SALT: Mapping[Tier, str] = {"elevenlabs": FLASH_MODEL}
"""What of a provider's own settings is heard, too: its sound is another when this is."""


def voice_fingerprint(voice: Voice) -> str:
    """What of a voice is heard: ``azure/en-US-AvaNeural/en-US/1.0/``."""
    recipe = MODEL_SALT.get(voice.tier, "")
    return f"{voice.tier}/{voice.name}/{voice.language}/{float(voice.speed)}/{voice.style}/{recipe}"


def cache_key(fingerprint: str, sentence: str) -> str:
    """64 hexadecimal digits."""
    return sha256(f"{AUDIO_FORMAT_VERSION}\0{fingerprint}\0{sentence}".encode()).hexdigest()


def object_path(tenant: str, key: str) -> str:
    """The object of a tenant's sentence."""
    return f"prompts/{tenant}/{key}.ulaw"
