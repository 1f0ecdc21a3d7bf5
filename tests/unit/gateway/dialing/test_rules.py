"""Toll-fraud rules as a table: allowed domestic numbers, and everything that is rejected."""

import pytest

from vocelio.engine.diagnostics import Diagnostics
from vocelio.gateway.dialing import rules
from vocelio.gateway.model.tenant import DialRules

US = frozenset({"US"})
ALLOWED_CASES = {
    "fixed or mobile": "+13105550111",
    "toll-free": "+18005550123",
}
REJECTED_CASES = [
    ("premium, area 900", "+19005550123", "premium_rate"),
    ("premium, exchange 976", "+12129761234", "premium_rate"),
    ("personal, area 500", "+15005550006", "premium_rate"),
    ("nobody's, area 700", "+17005550123", "invalid_number"),
    ("too short", "+1900123", "invalid_number"),
    ("Jamaica, by +1", "+18765550123", "country_not_allowed"),
    ("the Dominican Republic, by +1", "+18095551234", "country_not_allowed"),
    ("Canada, by +1", "+16135550123", "country_not_allowed"),
    ("satellite", "+881612345678", "premium_rate"),
    ("satellite, at sea", "+870773123456", "premium_rate"),
    ("international network", "+882161234567", "premium_rate"),
    ("international premium", "+979123456789", "premium_rate"),
    ("UK premium", "+449098790123", "premium_rate"),
    ("UK service", "+448431234567", "premium_rate"),
    ("UK personal", "+447012345678", "premium_rate"),
    ("UK company", "+443031234567", "premium_rate"),
    ("UK fixed", "+442079460123", "country_not_allowed"),
    ("Isle of Man, by +44", "+447624123456", "country_not_allowed"),
    ("German shared cost", "+491805123456", "premium_rate"),
    ("French premium", "+33891234567", "premium_rate"),
    ("no country", "+999123456789", "invalid_number"),
]


def rejection_reason(target, home=US, **reach):
    result = rules.check_destination(DialRules(**reach), target, home)
    return result and result.reason


@pytest.mark.parametrize("number", ALLOWED_CASES.values(), ids=ALLOWED_CASES)
def test_ordinary_domestic_number_is_allowed(number):
    assert rejection_reason(number) is None


@pytest.mark.parametrize(("number", "why"), [row[1:] for row in REJECTED_CASES], ids=[row[0] for row in REJECTED_CASES])
def test_other_number_is_rejected_with_its_reason(number, why):
    assert rejection_reason(number) == why


@pytest.mark.parametrize("number", [row[1] for row in REJECTED_CASES], ids=[row[0] for row in REJECTED_CASES])
def test_listed_prefix_is_allowed(number):
    assert rejection_reason(number, allowed_prefixes=(number[:6],)) is None
    assert rejection_reason(number, allowed_prefixes=("+999999",)) is not None


def test_named_country_replaces_the_home_country():
    assert rejection_reason("+442079460123", allowed_countries=("GB",)) is None
    assert rejection_reason("+13105550111", allowed_countries=("GB",)) == "country_not_allowed"
    assert rejection_reason("+447624123456", allowed_countries=("GB",)) == "country_not_allowed", (
        "the Isle of Man is not in GB"
    )
    assert rejection_reason("+449098790123", allowed_countries=("GB",)) == "premium_rate"


def test_without_a_home_country_any_country_is_allowed_but_premium_rates_are_not():
    assert rejection_reason("+442079460123", home=None) is None
    assert rejection_reason("+449098790123", home=None) == "premium_rate"
    assert rejection_reason("+442079460123", home=frozenset()) == "country_not_allowed", (
        "a number called that is nowhere has no home"
    )


def test_rejection_has_a_hint():
    result = rules.check_destination(DialRules(), "+18765550123", US)
    assert result.message == "+18765550123 is in JM"
    assert result.hint == "add JM to the tenant's `allowed_countries`"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("sip:desk@pbx.example.com", True),
        ("SIPS:desk@PBX.Example.com:5061;transport=tls", True),
        ("sip:desk@pbx.example.com?X-Team=sales", True),
        ("sip:desk@evil.example.net", False),
        ("sip:desk@pbx.example.com.evil.example.net", False),
        ("sip:pbx.example.com@evil.example.net", False),
        ("sip:desk@pbx.example.com;maddr=192.0.2.1", False),
        ("sip:desk@pbx.example.com?Route=evil.example.net", False),
        ("sip:desk@pbx.example.com:x", False),
        ("sip:desk@", False),
    ],
)
def test_sip_address_is_allowed_on_listed_hosts_only(address, allowed):
    assert rejection_reason(address, allowed_sip_hosts=("pbx.example.com",)) == (None if allowed else "sip_not_allowed")
    assert rejection_reason(address) == "sip_not_allowed", "without a list there is no SIP"


@pytest.mark.parametrize(
    ("prefix", "fine"),
    [
        ("+1876", True),
        ("+13105550111", True),
        ("+4420", True),
        ("+881", True),
        ("+1", False),
        ("+187", False),
        ("+44", False),
        ("+4", False),
        ("+88", False),
        ("+999", False),
    ],
)
def test_prefix_of_a_whole_country_is_rejected(prefix, fine):
    report = Diagnostics()
    rules.validate_dial_rules(DialRules(allowed_prefixes=("+4420", prefix)), report)
    assert [problem.path for problem in report.by_path] == ([] if fine else ["allowed_prefixes[1]"])


def test_unknown_country_is_rejected():
    report = Diagnostics()
    rules.validate_dial_rules(DialRules(allowed_countries=("US", "UK")), report)
    (problem,) = report.by_path
    assert (problem.path, problem.code) == ("allowed_countries[1]", "unknown-country")


@pytest.mark.parametrize(
    ("number", "where"), [("+13072249663", "US"), ("+16135550123", "CA"), ("+881612345678", ""), ("+999123456789", "")]
)
def test_country_of_a_number(number, where):
    assert rules.country_of(number) == where
