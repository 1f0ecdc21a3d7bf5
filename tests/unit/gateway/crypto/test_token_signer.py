"""Signed tokens: valid for one purpose and binding, for a while, with any of the keys."""

import pytest

from vocelio.gateway.crypto import MAX_CLOCK_SKEW_SECONDS, TokenSigner

NOW = 1_700_000_000_000_000  # microseconds UTC
SECOND = 1_000_000


def test_token_has_the_signed_value():
    signer = TokenSigner(["key"], "a purpose")
    assert signer.verify(signer.sign("a.b-c", NOW), NOW, 30) == "a.b-c"
    assert signer.verify(signer.sign("", NOW), NOW, 30) == ""


@pytest.mark.parametrize(
    ("age_seconds", "valid"), [(0, True), (30, True), (30.1, False), (-MAX_CLOCK_SKEW_SECONDS, True), (-5.1, False)]
)
def test_token_is_valid_for_its_lifetime_and_a_small_clock_skew(age_seconds, valid):
    signer = TokenSigner(["key"], "a purpose")
    assert (signer.verify(signer.sign("value", NOW), NOW + round(age_seconds * SECOND), 30) is not None) == valid


def test_token_is_not_valid_for_another_purpose_or_binding():
    signer = TokenSigner(["key"], "a purpose")
    token = signer.sign("value", NOW, "CA1")
    assert signer.verify(token, NOW, 30, "CA1") == "value"
    assert signer.verify(token, NOW, 30, "CA2") is None
    assert signer.verify(token, NOW, 30) is None
    assert TokenSigner(["key"], "another purpose").verify(token, NOW, 30, "CA1") is None


def test_new_key_in_front_signs_and_old_keys_still_verify():
    old, rotated = TokenSigner(["old"], "a purpose"), TokenSigner(["new", "old"], "a purpose")
    assert rotated.verify(old.sign("value", NOW), NOW, 30) == "value"
    assert TokenSigner(["new"], "a purpose").verify(rotated.sign("value", NOW), NOW, 30) == "value"
    assert old.verify(rotated.sign("value", NOW), NOW, 30) is None


def test_without_keys_only_the_same_signer_verifies():
    signer = TokenSigner([], "a purpose")
    token = signer.sign("value", NOW)
    assert signer.verify(token, NOW, 30) == "value"
    assert TokenSigner([], "a purpose").verify(token, NOW, 30) is None


def test_changed_or_malformed_token_is_invalid():
    signer = TokenSigner(["key"], "a purpose")
    token = signer.sign("value", NOW)
    value, timestamp, signature = token.split(".")
    for forged in (
        f"other.{timestamp}.{signature}",
        f"{value}.{timestamp[::-1]}.{signature}",
        f"{value}.{timestamp}.{signature[::-1]}",
        f"{value}.{signature}",
        f"{value}.{timestamp}.",
        value,
        "",
        ".",
        "..",
        f"{token}=",
        f"{token} ",
        f"{token}é",
        "\ud800",
    ):
        assert signer.verify(forged, NOW, 30) is None, forged
