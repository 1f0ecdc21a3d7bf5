"""Regular expressions that are applied to untrusted texts must not backtrack without a bound."""

import importlib
import pkgutil
import re
import warnings

import vocelio

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from re import _constants as constants
    from re import _parser as parser

MANY = 100
"""Repetitions from which a repeat within a repeat counts as nested."""

UNAMBIGUOUS = {
    "[^\\W_]+(?:['\u2019][^\\W_]+)*",  # words: an apostrophe is not part of the inner repeat
    r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*",  # nor is a hyphen
}
"""Patterns with nested repeats that were checked by hand: each character can be matched in one way only."""


def module_patterns() -> dict[str, re.Pattern[str]]:
    """Return every compiled pattern that a module of the product has, by its name."""
    found = {}
    for module in pkgutil.walk_packages(vocelio.__path__, "vocelio."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    found[f"{module.name}.{name}"] = value
    return found


def has_nested_repeat(tokens: object, within_repeat: bool = False) -> bool:
    """Return whether a repeat of MANY or more is within another."""
    if isinstance(tokens, (list, tuple, parser.SubPattern)):
        items = list(tokens)
        if len(items) == 2 and items[0] in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            _, most, body = items[1]
            is_repeat = most >= MANY
            return (is_repeat and within_repeat) or has_nested_repeat(body, within_repeat or is_repeat)
        return any(has_nested_repeat(item, within_repeat) for item in items)
    return False


def test_no_pattern_of_a_module_has_nested_repeats():
    nested = {
        name: each.pattern for name, each in module_patterns().items() if has_nested_repeat(parser.parse(each.pattern))
    }
    assert {name for name, pattern in nested.items() if pattern not in UNAMBIGUOUS} == set()


def test_nested_repeats_are_found():
    assert has_nested_repeat(parser.parse(r"x(?:a+b?)*"))
    assert has_nested_repeat(parser.parse(r"((a|b)+)+c"))
    assert not has_nested_repeat(parser.parse(r"a+(b|c)*[de]{1,5}"))
