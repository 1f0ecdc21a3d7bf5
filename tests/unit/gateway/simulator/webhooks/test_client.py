import pytest

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.webhooks.client import parse_overrides

URL = "https://gateway.example/twilio/voice?n=1"


def test_default_overrides():
    how = parse_overrides(URL)
    assert (how.connect_seconds, how.read_seconds, how.total_seconds, how.max_retries) == (5.0, 15.0, 15.0, 1)
    assert how.should_retry("ct")
    assert not any(how.should_retry(failure) for failure in ("rt", "2xx", "4xx", "5xx"))


def test_overrides_in_the_fragment():
    how = parse_overrides(f"{URL}#ct=500&rt=2000&tt=9000&rc=3&rp=ct,5xx")
    assert (how.connect_seconds, how.read_seconds, how.total_seconds, how.max_retries) == (0.5, 2.0, 9.0, 3)
    assert [failure for failure in ("ct", "rt", "2xx", "4xx", "5xx") if how.should_retry(failure)] == ["ct", "5xx"]


def test_retry_policy_all_covers_failures_only():
    how = parse_overrides(f"{URL}#rp=all")
    assert [failure for failure in ("ct", "rt", "2xx", "3xx", "4xx", "5xx") if how.should_retry(failure)] == [
        "ct",
        "rt",
        "4xx",
        "5xx",
    ]


@pytest.mark.parametrize(
    ("fragment", "connect", "retries"),
    [("ct=1&rc=9", 0.1, 5), ("ct=99999&rc=0", 10.0, 0), ("ct=soon&rc=-1", 5.0, 1), ("ct=&rc=", 5.0, 1), ("x", 5.0, 1)],
)
def test_values_are_clamped_and_invalid_ones_ignored(fragment, connect, retries):
    how = parse_overrides(f"{URL}#{fragment}")
    assert (how.connect_seconds, how.max_retries) == (connect, retries)


@pytest.mark.parametrize("policy", ["3xx", "ct,never", "ct,"])
def test_invalid_retry_policy_is_an_error(policy):
    with pytest.raises(TwilioSimError) as caught:
        parse_overrides(f"{URL}#rp={policy}")
    assert caught.value.code == error_codes.RETRY_POLICY
