"""What the one who answers a transfer hears first: a department's ``whisper``, a small Liquid template.

It reads ``caller.number``, ``number`` (the one that was called), ``department`` and ``tenant.name``. Numbers are
written so that they are understood when they are spoken: figure by figure, in the groups in which people write them.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberFormat

from vocelio.engine.diagnostics import Problem, did_you_mean, short
from vocelio.engine.templating.template import RenderError, Template
from vocelio.gateway.dialing import rules

READS = ("caller.number", "number", "department", "tenant.name")
WITHHELD = "a withheld number"
MAX_SPOKEN = 1_000  # characters: a minute; nobody waits longer for a caller
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # XML takes none of them


def problems(whisper: str) -> Iterable[Problem]:
    """What is wrong with a department's whisper."""
    try:
        template = _compiled(whisper)
    except ValueError as error:
        yield Problem("whisper", "template", str(error))
        return
    for read in dict.fromkeys(".".join(path) for path in template.paths):
        if read not in READS:
            hint = did_you_mean(read, READS) or f"there are {', '.join(READS)}"
            yield Problem("whisper", "unknown-variable", f"there is no `{short(read)}`", hint)


def text(whisper: str, *, caller: str, number: str, department: str, tenant: str) -> str:
    """What is said. ``caller`` and ``number`` are E.164 (``caller`` empty: withheld); without a template, nothing."""
    home = rules.region(number)
    scope = {
        "caller": {"number": spoken(caller, home)},
        "number": spoken(number, home),
        "department": re.sub(r"[-_]+", " ", department),
        "tenant": {"name": tenant},
    }
    try:
        return speakable(_compiled(whisper).render(scope))
    except (ValueError, RenderError):  # kept before it was checked: the call is put through unannounced
        return ""


def speakable(text: str) -> str:
    """A text that TwiML can hold, and no longer than anybody listens to."""
    return _UNSPEAKABLE.sub(" ", text)[:MAX_SPOKEN]


def spoken(number: str, home: str) -> str:
    """A number (E.164) in figures and groups: "3 1 0, 5 5 5, 0 1 4 2", or with "plus" when it is not from ``home``."""
    if not number:
        return WITHHELD
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return f"plus {' '.join(number.removeprefix('+'))}"
    at_home = bool(home) and rules.region(number) == home
    written = phonenumbers.format_number(
        parsed, PhoneNumberFormat.NATIONAL if at_home else PhoneNumberFormat.INTERNATIONAL
    )
    groups = ", ".join(" ".join(group) for group in re.findall(r"[0-9]+", written))
    return groups if at_home else f"plus {groups}"


@lru_cache(maxsize=1_000)
def _compiled(whisper: str) -> Template:
    return Template(whisper)
