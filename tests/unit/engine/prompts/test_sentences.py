"""Sentence splitter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.engine.prompts.sentences import MAX_SENTENCE_CHARACTERS, full_sentences, split_sentences

TEXTS = st.text() | st.text(alphabet="ab .!?\n…。", max_size=900) | st.lists(st.text("x", max_size=300)).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("Hello", ["Hello"]),
        ("Hello.  Who\nis there?", ["Hello.", "Who is there?"]),
        ("Wait… no! Really?!", ["Wait…", "no!", "Really?!"]),
        ("你好。 再见。", ["你好。", "再见。"]),
        ("It is 3.50 dollars.", ["It is 3.50 dollars."]),
        ("Open a.m. only", ["Open a.m.", "only"]),
    ],
)
def test_split_after_punctuation_and_space(text, expected):
    assert split_sentences(text) == expected


def test_long_sentence_is_split_between_words():
    text = " ".join(["seven77"] * 100)
    pieces = split_sentences(text)
    assert [len(piece) for piece in pieces] == [247, 247, 247, 55]
    assert full_sentences(text) == [text]


def test_long_word_is_not_split():
    word = "x" * 400
    assert split_sentences(f"{word} and {word}") == [word, f"and {word}"[:3], word]


@given(TEXTS)
def test_joined_sentences_are_the_normalized_text(text):
    pieces = split_sentences(text)
    assert " ".join(pieces) == " ".join(text.split())
    assert all(piece and piece == piece.strip() for piece in pieces)
    assert all(len(piece) <= MAX_SENTENCE_CHARACTERS or " " not in piece for piece in pieces)


@given(TEXTS, TEXTS)
def test_split_is_independent_of_preceding_text(before, text):
    assert split_sentences(f"{before}. {text}") == [*split_sentences(f"{before}."), *split_sentences(text)]


@given(TEXTS)
def test_split_is_idempotent(text):
    assert all(split_sentences(piece) == [piece] for piece in split_sentences(text))
