"""The database stands still for half a minute while calls are on."""

import asyncio
from dataclasses import dataclass

from tests.resilience.cluster import running_cluster
from vocelio.gateway.store.db.schema import calls

OUTAGE_SECONDS = 30.0


@dataclass
class DatabaseOutageResult:
    """What became of the calls that were on, and of those that came meanwhile."""

    live: int
    errors: list
    outcomes: dict
    answered_ms: list  # how fast those were answered that came meanwhile
    still_live: int
    wrong_money: int

    @property
    def is_ok(self):
        """Nobody was cut off, everybody who came was answered in time, and all is kept in the end."""
        return not (self.errors or self.still_live or self.wrong_money) and max(self.answered_ms) < 3_000

    def __str__(self):
        return (
            f"{self.live} live calls, {len(self.errors)} carrier errors, outcomes {self.outcomes}; "
            f"{len(self.answered_ms)} new ones answered within {max(self.answered_ms):.0f} ms; "
            f"{self.still_live} left live in the store, {self.wrong_money} bills that do not add up"
        )


async def outage_round(postgres, count):
    """``count`` calls, and the server is paused when they are on; new calls come while it is."""
    async with running_cluster(postgres, 2) as running:
        on = [asyncio.create_task(running.call(f"{code:04}", steps=20)) for code in range(count)]
        await asyncio.sleep(6)
        postgres.pause()
        try:
            new = [asyncio.create_task(_call_later(running, after)) for after in range(1, 25, 4)]
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            postgres.resume()
        reports, answered = await asyncio.gather(*on), await asyncio.gather(*new)
        await running.wait_until_settled()
        kept = {row.id: row for row in await running.rows(calls)}
        outcomes = {}
        for report in reports:
            outcome = kept[report.call_sid].outcome if report.call_sid in kept else "not kept"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        wrong = [text for text in await running.failed_calls(reports) if "costs" in text or "billed" in text]
        return DatabaseOutageResult(
            live=len(reports),
            errors=[fault for report in reports for fault in report.errors],
            outcomes=outcomes,
            answered_ms=[report.webhooks[0].duration_ms for report in answered],
            still_live=sum(row.ended_at is None for row in kept.values()),
            wrong_money=len(wrong),
        )


async def _call_later(running, after):
    await asyncio.sleep(after)
    return await running.call("0000")
