"""A text as Azure's speech markup (SSML)."""

import re
from xml.etree.ElementTree import Element, SubElement, tostring

from vocelio.engine.voice import Voice

MIN_SPEED, MAX_SPEED = 0.5, 2.0
"""Times its normal speed that a voice can speak; a speed outside is limited to them."""

LEADING_SILENCE, TRAILING_SILENCE = "20ms", "150ms"
"""Silence around a text, instead of about 0.1 and 0.8 s: texts follow one another as sentences do."""

_NAMESPACES = {
    "xmlns": "http://www.w3.org/2001/10/synthesis",
    "xmlns:mstts": "https://www.w3.org/2001/mstts",
}

_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, section 2.2: control characters, and halves of surrogate pairs."""


def strip_invalid_xml(text: str) -> str:
    """The text without the characters that XML cannot hold and without space around it."""
    return _INVALID_XML.sub("", text).strip()


def build_ssml(text: str, voice: Voice) -> str:
    """The document in which ``voice`` says a text that is ``plain``. Nothing in the text is taken for markup."""
    speak = Element("speak", {"version": "1.0", **_NAMESPACES, "xml:lang": voice.language})
    spoken = SubElement(speak, "voice", {"name": strip_invalid_xml(voice.name)})
    SubElement(spoken, "mstts:silence", {"type": "Leading-exact", "value": LEADING_SILENCE})
    SubElement(spoken, "mstts:silence", {"type": "Tailing-exact", "value": TRAILING_SILENCE})
    speed = min(max(voice.speed, MIN_SPEED), MAX_SPEED)
    styled = SubElement(spoken, "mstts:express-as", {"style": voice.style}) if voice.style else spoken
    SubElement(styled, "prosody", {"rate": f"{(speed - 1) * 100:+.0f}%"}).text = text
    return tostring(speak, encoding="unicode")
