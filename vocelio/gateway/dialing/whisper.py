"""What the one who answers a transfer hears first: a department's ``whisper``, a small Liquid template.

It reads ``caller.number``, ``number`` (the one that was called), ``department`` and ``tenant.name``. Numbers are
written so that they are understood when they are spoken: figure by figure, in the groups in which people write them.
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
MAX_WHISPER_CHARACTERS = 1_000  # characters: a minute; nobody waits longer for a caller
_INVALID_XML = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # XML takes none of them


def check_whisper(whisper: str) -> Iterable[Diagnostic]:
    """What is wrong with a department's whisper."""
    try:
        template = _compile_template(whisper)
    except ValueError as error:
        yield Diagnostic("whisper", "template", str(error))
        return
    for read in dict.fromkeys(".".join(path) for path in template.variable_paths):
        if read not in ALLOWED_VARIABLES:
            hint = did_you_mean(read, ALLOWED_VARIABLES) or f"there are {', '.join(ALLOWED_VARIABLES)}"
            yield Diagnostic("whisper", "unknown-variable", f"there is no `{truncate(read)}`", hint)


def render_whisper(whisper: str, *, caller: str, number: str, department: str, tenant: str) -> str:
    """What is said. ``caller`` and ``number`` are E.164 (``caller`` empty: withheld); without a template, nothing."""
    home = rules.country_of(number)
    scope = {
        "caller": {"number": format_number(caller, home)},
        "number": format_number(number, home),
        "department": re.sub(r"[-_]+", " ", department),
        "tenant": {"name": tenant},
    }
    try:
        return clean_text(_compile_template(whisper).render(scope))
    except (ValueError, RenderError):  # kept before it was checked: the call is put through unannounced
        return ""


def clean_text(text: str) -> str:
    """A text that TwiML can hold, and no longer than anybody listens to."""
    return _INVALID_XML.sub(" ", text)[:MAX_WHISPER_CHARACTERS]


def format_number(number: str, home_region: str) -> str:
    """A number (E.164) in figures and groups: "3 1 0, 5 5 5, 0 1 4 2", or with "plus" when it is not from ``home``."""
    if not number:
        return WITHHELD_TEXT
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return f"plus {' '.join(number.removeprefix('+'))}"
    at_home = bool(home_region) and rules.country_of(number) == home_region
    written = phonenumbers.format_number(
        parsed, PhoneNumberFormat.NATIONAL if at_home else PhoneNumberFormat.INTERNATIONAL
    )
    groups = ", ".join(" ".join(group) for group in re.findall(r"[0-9]+", written))
    return groups if at_home else f"plus {groups}"


@lru_cache(maxsize=1_000)
def _compile_template(whisper: str) -> Template:
    return Template(whisper)
