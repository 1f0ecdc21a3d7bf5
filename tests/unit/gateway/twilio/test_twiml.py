"""TwiML documents are well-formed, whatever the text."""

from xml.etree import ElementTree

import pytest

from vocelio.gateway.twilio import twiml

DOCUMENTS = {
    "say": twiml.say,
    "say_and_hang_up": twiml.say_and_hang_up,
    "wait": lambda text: twiml.wait(text, 1, "https://gateway.example/"),
    "hold": lambda text: twiml.hold(text, 1),
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize(
    "unspeakable",
    ["\x01", "\x08", "\0", "\x1b", "\x7f", "\x9b", "\ufffe", "\uffff", "\ufdd0", "\U0001ffff", "\U0010fffe", "\ud800"],
    ids=ascii,
)
def test_unspeakable_characters_are_removed(document, unspeakable):
    say = ElementTree.fromstring(document(f"One{unspeakable} moment{unspeakable * 3}, please.")).find("Say")
    assert say.text == "One moment, please."


@pytest.mark.parametrize("text", ["Grüße & <b>", "你好 🙂 \ufffd", "a\tb\nc", "\ud7ff\ue000\U0010fffd"], ids=ascii)
def test_other_characters_stay(text):
    assert ElementTree.fromstring(twiml.say(text)).find("Say").text == text
