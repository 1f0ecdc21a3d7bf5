"""The long proofs: python -m tests.resilience [kill|hang-up|rolling|database|redis]... [--rounds N] [--calls N]

Kills, replaces and pauses what live calls depend on, many times, and says at the end what callers noticed. The exit
code is 1 when anything was worse than it may be.
"""

import argparse
import asyncio
import sys

from rich.console import Console
from rich.progress import Progress

from tests.resilience.cluster import running_cluster
from tests.resilience.database_outage import outage_round
from tests.resilience.kill_rounds import kill_round, new_rng, rolling_round
from tests.resilience.redis_outage import run_redis_outages
from tests.resilience.silence import OutcomeTally, percentile
from tests.support.postgres_server import PostgresServer
from vocelio.gateway.simulator.behavior import TwilioBehavior

SUITES = ("kill", "hang-up", "rolling", "database", "redis")
ROUNDS = {"kill": 50, "hang-up": 5, "rolling": 20, "database": 1, "redis": 5}
PROCESSES = (2, 4)  # of the rounds with Redis
console = Console(highlight=False)


async def report_kills(postgres, progress, rounds, calls):
    """A process killed in each round: at least 99.5 % of the calls that it had go on and come out right."""
    tally = await _run_kill_rounds(postgres, progress, "kill -9", rounds, calls)
    fine = tally.recovered_share >= 0.995 and not tally.unaffected_failed
    return tally, fine and percentile(tally.silences_seconds, 0.5) <= 1.0 and percentile(
        tally.silences_seconds, 0.95
    ) <= 2.0


async def report_hang_ups(postgres, progress, rounds, calls):
    """The same where Twilio hangs up on a loss: nothing can be kept, nothing may stay behind."""
    tally = await _run_kill_rounds(
        postgres,
        progress,
        "kill -9, Twilio hangs up",
        rounds,
        calls,
        behavior=TwilioBehavior(after_stream_loss="hang_up"),
    )
    return tally, not tally.unaffected_failed and tally.cut > 0


async def _run_kill_rounds(postgres, progress, name, rounds, calls, **options):
    tally, rng, task = OutcomeTally(), new_rng(), progress.add_task(name, total=rounds)
    async with running_cluster(postgres, **options) as running:
        for _ in range(rounds):
            await kill_round(running, tally, rng, calls)
            progress.advance(task)
            progress.print(f"[dim]{tally}[/dim]")
    return tally


async def report_rolling_restarts(postgres, progress, rounds, calls):
    """All processes replaced in each round: no call is refused or lost, and none takes longer than ten seconds."""
    tally, rng, task, took = OutcomeTally(), new_rng(), progress.add_task("rolling restart", total=rounds), []
    async with running_cluster(postgres) as running:
        for _ in range(rounds):
            took += await rolling_round(running, tally, rng, calls // 3)
            progress.advance(task)
            progress.print(f"[dim]{tally}; a process left within {max(took):.1f} s[/dim]")
        refused = running.balancer.refused_connections
    fine = not (tally.failed or tally.unaffected_failed or tally.cut or refused)
    return tally, fine and max(took) < 10 and percentile(tally.silences_seconds, 0.95) <= 1.5


async def report_database_outage(postgres, progress, rounds, calls):
    """The database stands still for half a minute under live calls."""
    task = progress.add_task("database away for 30 s", total=rounds)
    for _ in range(rounds):
        report = await outage_round(postgres, calls // 3)
        progress.advance(task)
        progress.print(f"[dim]{report}[/dim]")
    return report, report.is_ok


async def report_redis_outages(postgres, progress, rounds, calls):
    """Redis and maybe a process away in each round, of two and of four: no call is lost, every monitor soon right."""
    task = progress.add_task("Redis away for 30 s", total=len(PROCESSES) * rounds)

    def done(report):
        progress.advance(task)
        progress.print(f"[dim]{report}[/dim]")

    reports = [await run_redis_outages(postgres, processes, rounds, calls // 3, done) for processes in PROCESSES]
    return "; ".join(map(str, reports)), all(report.is_ok for report in reports)


async def main():
    parser = argparse.ArgumentParser(prog="python -m tests.resilience", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*SUITES, []], default=[])
    parser.add_argument("--rounds", type=int, help="of each kind; otherwise " + str(ROUNDS))
    parser.add_argument("--calls", type=int, default=60, help="at once")
    wanted = parser.parse_args()
    run = {
        "kill": report_kills,
        "hang-up": report_hang_ups,
        "rolling": report_rolling_restarts,
        "database": report_database_outage,
        "redis": report_redis_outages,
    }
    results = []
    with PostgresServer() as postgres, Progress(console=console) as progress:
        for kind in wanted.kinds or SUITES:
            found, fine = await run[kind](postgres, progress, wanted.rounds or ROUNDS[kind], wanted.calls)
            results.append((kind, found, fine))
    for kind, found, fine in results:
        console.print(
            f"[bold]{kind}[/bold]: {found} [{'green' if fine else 'red'}]{'as it should be' if fine else 'NOT GOOD'}"
        )
    return all(fine for _, _, fine in results)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
