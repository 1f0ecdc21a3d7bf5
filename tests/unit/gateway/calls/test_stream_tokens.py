"""Stream tokens: bound to tenant, generation, account and call."""

import pytest

from vocelio.gateway.calls.stream_tokens import MAX_TOKEN_AGE_SECONDS, StreamToken, StreamTokens

NOW = 1_700_000_000_000_000  # microseconds UTC
ACCOUNT, CALL = "AC" + "1" * 32, "CA" + "2" * 32
TOKEN = StreamToken("harbour-tools", 12)


def test_token_admits_to_its_call_until_it_expires():
    tokens = StreamTokens(["key"])
    issued = tokens.issue(TOKEN, ACCOUNT, CALL, NOW)
    assert StreamTokens(["key"]).verify(issued, ACCOUNT, CALL, NOW) == TOKEN
    assert tokens.verify(issued, ACCOUNT, CALL, NOW + MAX_TOKEN_AGE_SECONDS * 1_000_000) == TOKEN
    assert tokens.verify(issued, ACCOUNT, CALL, NOW + (MAX_TOKEN_AGE_SECONDS + 1) * 1_000_000) is None


def test_token_names_neither_account_nor_call_and_fits_a_stream_parameter():
    issued = StreamTokens(["key"]).issue(StreamToken("a" * 40, 10**9), ACCOUNT, CALL, NOW)
    assert ACCOUNT not in issued
    assert CALL not in issued
    assert len(issued) <= 200


@pytest.mark.parametrize(
    ("account", "call"), [(ACCOUNT, "CA3"), ("AC3", CALL), (CALL, ACCOUNT), ("", ""), (ACCOUNT + CALL, "")]
)
def test_token_is_not_valid_for_another_call(account, call):
    tokens = StreamTokens(["key"])
    assert tokens.verify(tokens.issue(TOKEN, ACCOUNT, CALL, NOW), account, call, NOW) is None


def test_changed_tenant_or_generation_makes_the_token_invalid():
    tokens = StreamTokens(["key"])
    issued = tokens.issue(TOKEN, ACCOUNT, CALL, NOW)
    for forged in (
        issued.replace("12.", "13.", 1),
        issued.replace("harbour", "arbourh"),
        "x" * 201,
        "",
        "é",
        "a.b.c.d",
    ):
        assert tokens.verify(forged, ACCOUNT, CALL, NOW) is None, forged
