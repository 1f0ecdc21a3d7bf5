"""Redaction: confidential text is masked, identifiers stay."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.logs import is_card, redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("calls of +13072249663 get the apology", "calls of +***9663 get the apology"),
        ("GET /v1/numbers/%2B13072249663/assignment: no", "GET /v1/numbers/%2B***9663/assignment: no"),
        ("rings +493012345", "rings +***45"),
        ("+1 307 224-9663.", "+***9663."),
        ("3072249663", "***"),
        ("paid with 4111 1111 1111 1111, thanks", "paid with ***, thanks"),
        ("card +4111111111111111", "card ***"),
        ("378282246310005", "***"),
        ("code 1234567", "code ***"),
        ("write to jane.doe+x@mail.example.com!", "write to ***!"),
        ("sip:desk@pbx.example.com", "sip:***"),
        ("1,2,3 of 200000 in 5000 ms at 10.0.0.12:8080", "1,2,3 of 200000 in 5000 ms at 10.0.0.12:8080"),
        (f"call CA{'7' * 32}: lost", f"call CA{'7' * 32}: lost"),
        ("request 0123456789abcdef", "request 0123456789abcdef"),
        ("307.224.9663", "***"),
        ("(307) 224.9663", "(307) ***"),
        ("+1.307.224.9663", "+***9663"),
        ("+33 1.23.45.67.89", "+***6789"),
        ("33.1.23.45.67.89", "33.***"),
        ("card 4111.1111.1111.1111.", "card ***."),
        ("card 3782.822463.10005", "card ***"),
        ("GET /v1/calls?caller%3D13072249663&a=b", "GET /v1/calls?caller%3D***&a=b"),
        ("To%3D%2B13072249663%26From", "To%3D%2B***9663%26From"),
        ("caller%2B13072249663", "caller%2B***"),
        ("/v1/numbers/%252B13072249663", "/v1/numbers/%252B***9663"),
        ("next%253D13072249663", "next%253D***"),
        (f"%3DCA{'7' * 32}", f"%3DCA{'7' * 32}"),
        ("10.128.100.200 and 192.168.100.200:51234.", "10.128.100.200 and 192.168.100.200:51234."),
        ("5000 10.128.100.200", "5000 10.128.100.200"),
        ("10.128.100.300", "***"),
        ("Chrome/141.0.7390.54 on 3.11.14", "Chrome/141.0.7390.54 on 3.11.14"),
        ("2026-11-25 04:49:20,953", "2026-11-25 04:49:20,953"),
        ("2026-11-25T04:49:20.953", "2026-11-25T04:49:20.953"),
        ("2026.11.25 or 25.11.2026", "2026.11.25 or 25.11.2026"),
        ("2026-11-2533, 2026.13.2533", "***, ***"),
        ("12.345678 s; load 1.25 0.98 0.75", "12.345678 s; load 1.25 0.98 0.75"),
        ("", ""),
    ],
)
def test_text_is_redacted_as_expected(text, redacted):
    assert redact(text) == redacted


WORDS = st.text(alphabet=string.ascii_lowercase + string.digits + " -+@.,:%/é", max_size=60)
CARDS = st.integers(10**11, 10**18 - 1).map(
    lambda body: next(f"{body}{check}" for check in range(10) if is_card(f"{body}{check}"))
)


@given(WORDS)
def test_no_long_number_remains(text):
    assert not re.search(r"(?<![0-9A-Za-z])[0-9]{7,}(?![0-9A-Za-z])", redact(text))


@given(st.text())
def test_redaction_is_idempotent(text):
    assert redact(redact(text)) == redact(text)


@given(st.text(alphabet=string.ascii_letters + " .,:!?-", max_size=60))
def test_words_are_not_redacted(text):
    assert redact(text) == text


@given(CARDS, st.sampled_from(["", " ", "-", "."]), st.sampled_from(["", "+", "card: ", "(", "é"]))
def test_no_card_number_remains(card, between, before):
    written = between.join(card[place : place + 4] for place in range(0, len(card), 4))
    left = redact(f"{before}{written} is mine")
    assert not re.search("[0-9]", left)


@given(st.integers(1_000_000, 10**15 - 1))
def test_at_most_four_digits_of_a_telephone_number_remain(number):
    left = redact(f"+{number}")
    assert re.fullmatch(r"\+\*\*\*([0-9]{2}|[0-9]{4})|\*\*\*", left)


@given(
    st.integers(10**9, 10**10 - 1).map(str),
    st.sampled_from(["", "1", "+1", "49", "+49", "%2B1", "x%2B1", "%3D", "%3D1", "%3D%2B1", "%253D%252B1", "%20"]),
    st.sampled_from(["", " ", "-", "."]),
)
def test_at_most_four_digits_remain_of_any_telephone_number_format(number, before, between):
    separated = between if before[-1:].isdigit() else ""
    left = redact(f"{before}{separated}{between.join((number[:3], number[3:6], number[6:]))}")
    assert re.search(r"\*\*\*([0-9]{4})?$", left)
    assert number[:6] not in re.sub("[ .-]", "", left)


def test_card_number_is_recognized_by_its_luhn_checksum():
    assert is_card("4111111111111111")
    assert is_card("378282246310005")
    assert not is_card("4111111111111112")
    assert not is_card("411111111111")
    assert not is_card("0" * 20)
