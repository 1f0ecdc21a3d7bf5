"""The whisper that a callee hears before being connected: a small Liquid template of the department.

It can read ``caller.number``, ``number`` (the called one), ``department`` and ``tenant.name``. Numbers are written for
speech: digit by digit, in the groups in which people write them.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberFormat

from vocelio.engine.diagnostics import Diagnostic, did_you_mean, truncate
from vocelio.engine.templating.template import RenderError, Template
from vocelio.gateway.dialing import rules

ALLOWED_VARIABLES = ("caller.number", "number", "department", "tenant.name")
WITHHELD_TEXT = "a withheld number"
MAX_WHISPER_CHARACTERS = 1_000  # characters: about a minute of speech
_INVALID_XML = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # not allowed in XML


def check_whisper(whisper: str) -> Iterable[Diagnostic]:
    """Check a department's whisper."""
    try:
        template = _compile_template(whisper)
    except ValueError as error:
        yield Diagnostic("whisper", "template", str(error))
        return
    for variable in dict.fromkeys(".".join(path) for path in template.variable_paths):
        if variable not in ALLOWED_VARIABLES:
            hint = did_you_mean(variable, ALLOWED_VARIABLES) or f"there are {', '.join(ALLOWED_VARIABLES)}"
            yield Diagnostic("whisper", "unknown-variable", f"there is no `{truncate(variable)}`", hint)


def render_whisper(whisper: str, *, caller: str, number: str, department: str, tenant: str) -> str:
    """Render a whisper; an empty template gives an empty text. Numbers are E.164, ``caller`` is empty when withheld."""
    home = rules.country_of(number)
    scope = {
        "caller": {"number": format_number(caller, home)},
        "number": format_number(number, home),
        "department": re.sub(r"[-_]+", " ", department),
        "tenant": {"name": tenant},
    }
    try:
        return clean_text(_compile_template(whisper).render(scope))
    except (ValueError, RenderError):  # saved before it was checked: connect without a whisper
        return ""


def clean_text(text: str) -> str:
    """Return a text that TwiML can contain, truncated to MAX_WHISPER_CHARACTERS."""
    return _INVALID_XML.sub(" ", text)[:MAX_WHISPER_CHARACTERS]


def format_number(number: str, home_region: str) -> str:
    """Format a number (E.164) for speech: "3 1 0, 5 5 5, 0 1 4 2", with "plus" if it is not from ``home_region``."""
    if not number:
        return WITHHELD_TEXT
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return f"plus {' '.join(number.removeprefix('+'))}"
    is_national = bool(home_region) and rules.country_of(number) == home_region
    written = phonenumbers.format_number(
        parsed, PhoneNumberFormat.NATIONAL if is_national else PhoneNumberFormat.INTERNATIONAL
    )
    groups = ", ".join(" ".join(group) for group in re.findall(r"[0-9]+", written))
    return groups if is_national else f"plus {groups}"


@lru_cache(maxsize=1_000)
def _compile_template(whisper: str) -> Template:
    return Template(whisper)
