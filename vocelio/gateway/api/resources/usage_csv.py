"""Usage as CSV.

Text that starts like a formula is prefixed with an apostrophe, since some spreadsheets execute formulas when they open
a file. Telephone numbers also start with ``+`` but are left as they are: with only digits behind it, ``+`` is harmless,
and programs find the same number as everywhere else.
"""

import csv
import io

from vocelio.engine.call_info import E164_PATTERN
from vocelio.gateway.store.calls.usage import UsageReport, group_values

CSV_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")  # OWASP's list

_TOTAL_FIELDS = ("calls", "billed_microseconds", "billed_seconds", "cost_micro_usd")


def to_csv(report: UsageReport) -> bytes:
    """Return the rows as CSV, without the total, so that a sum over the file is not doubled."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*report.by, *_TOTAL_FIELDS])
    for row in report.rows:
        seconds = f"{row.billed_microseconds // 1_000_000}.{row.billed_microseconds % 1_000_000:06}"
        writer.writerow(
            [
                *map(_escape_csv_formula, group_values(row, report.by)),
                row.calls,
                row.billed_microseconds,
                seconds,
                row.cost_micro_usd,
            ]
        )
    return text.getvalue().encode()


def _escape_csv_formula(value: object) -> str:
    text = str(value)
    if text.startswith(CSV_FORMULA_PREFIXES) and not E164_PATTERN.fullmatch(text):
        return f"'{text}"
    return text
