"""SSML of a synthesis request to the emulated Azure service."""

import re
from xml.etree import ElementTree

from vocelio.engine.voice import Voice

SPEECH, XML = "{http://www.w3.org/2001/10/synthesis}", "{http://www.w3.org/XML/1998/namespace}"
VOICE_NAME = re.compile(r"[a-z]{2,3}-[A-Z]{2}-[A-Za-z]+Neural")


class InvalidSsml(Exception):
    """Invalid SSML; the service closes the socket with 1007 and this reason."""


def parse_ssml(ssml, local_voice):
    """Return the text, the voice's name and the local Voice. Raises InvalidSsml."""
    try:
        root = ElementTree.fromstring(ssml)
    except ElementTree.ParseError as error:
        raise InvalidSsml(f"Ssml parse error: {error}") from None
    voice = root.find(f"{SPEECH}voice")
    if root.tag != f"{SPEECH}speak" or root.get("version") != "1.0" or voice is None:
        raise InvalidSsml("SSML must have one speak element with a voice in it")
    if not root.get(f"{XML}lang"):
        raise InvalidSsml("SSML must say its language")
    name = voice.get("name", "")
    if not VOICE_NAME.fullmatch(name):
        raise InvalidSsml(f"Unsupported voice {name}.")
    prosody = voice.find(f"{SPEECH}prosody")
    speed = 1.0 if prosody is None else _parse_rate(prosody.get("rate", "1"))
    return "".join(root.itertext()), name, Voice(name=local_voice, speed=speed)


def _parse_rate(text):
    """Parse a relative rate: ``1.5``, ``+50%`` or ``-20.00%``."""
    if text.endswith("%"):
        return 1 + float(text[:-1]) / 100
    return float(text)
