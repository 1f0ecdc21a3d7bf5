"""Outage of the database: it is paused for 30 s during live calls."""

import asyncio
from dataclasses import dataclass

from tests.resilience.cluster import running_cluster
from vocelio.gateway.store.db.schema import calls

OUTAGE_SECONDS = 30.0


@dataclass
class DatabaseOutageResult:
    """Outcomes of the calls that were live at the start of the outage, and of those placed during it."""

    live: int
    errors: list
    outcomes: dict
    answered_ms: list  # of the first webhook of calls placed during the outage
    still_live: int
    wrong_money: int

    @property
    def is_ok(self):
        """No call failed, new calls were answered in time, and everything was stored in the end."""
        return not (self.errors or self.still_live or self.wrong_money) and max(self.answered_ms) < 3_000

    def __str__(self):
        return (
            f"{self.live} live calls, {len(self.errors)} simulator errors, outcomes {self.outcomes}; "
            f"{len(self.answered_ms)} new calls answered within {max(self.answered_ms):.0f} ms; "
            f"{self.still_live} left live in the store, {self.wrong_money} incorrect bills"
        )


async def outage_round(postgres, count):
    """Pause the database under ``count`` live calls and place new calls meanwhile."""
    async with running_cluster(postgres, 2) as running:
        live = [asyncio.create_task(running.call(f"{code:04}", steps=20)) for code in range(count)]
        await asyncio.sleep(6)
        postgres.pause()
        try:
            new = [asyncio.create_task(_call_later(running, seconds)) for seconds in range(1, 25, 4)]
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            postgres.resume()
        reports, answered = await asyncio.gather(*live), await asyncio.gather(*new)
        await running.wait_until_settled()
        stored = {row.id: row for row in await running.rows(calls)}
        outcomes = {}
        for report in reports:
            outcome = stored[report.call_sid].outcome if report.call_sid in stored else "not stored"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        wrong = [text for text in await running.failed_calls(reports) if "costs" in text or "billed" in text]
        return DatabaseOutageResult(
            live=len(reports),
            errors=[error for report in reports for error in report.errors],
            outcomes=outcomes,
            answered_ms=[report.webhooks[0].duration_ms for report in answered],
            still_live=sum(row.ended_at is None for row in stored.values()),
            wrong_money=len(wrong),
        )


async def _call_later(running, seconds):
    await asyncio.sleep(seconds)
    return await running.call("0000")
