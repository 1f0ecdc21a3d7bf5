"""Long resilience tests: python -m tests.resilience [KIND]... [--rounds N] [--calls N]

The kinds are kill, hang-up, rolling, restarts, database and redis; default: all.

Repeatedly kills, restarts and pauses the dependencies of live calls, and prints what callers noticed. Exits with 1 if a
bound is violated.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.resilience.cluster import running_cluster, running_machine
from tests.resilience.database_outage import outage_round
from tests.resilience.kill_rounds import kill_round, new_rng, rolling_round
from tests.resilience.redis_outage import run_redis_outages
from tests.resilience.restarts import reload_round
from tests.resilience.silence import OutcomeTally, percentile
from tests.support.postgres_server import PostgresServer
from vocelio.gateway.simulator.behavior import TwilioBehavior

SUITES = ("kill", "hang-up", "rolling", "restarts", "database", "redis")
ROUNDS = {"kill": 50, "hang-up": 5, "rolling": 20, "restarts": 25, "database": 1, "redis": 5}
PROCESSES = (2, 4)  # cluster sizes of the Redis rounds
console = Console(highlight=False)


async def report_kills(postgres, progress, rounds, calls):
    """Kill one process per round: at least 99.5 % of its calls are resumed and end correctly."""
    tally = await _run_kill_rounds(postgres, progress, "kill -9", rounds, calls)
    passed = tally.recovered_share >= 0.995 and not tally.unaffected_failed
    return tally, passed and percentile(tally.silences_seconds, 0.5) <= 1.0 and percentile(
        tally.silences_seconds, 0.95
    ) <= 2.0


async def report_hang_ups(postgres, progress, rounds, calls):
    """The same, but Twilio hangs up after a stream loss: no call is resumed, and none stays live in the store."""
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
    """Restart all processes in each round: no call is refused or lost, and each process stops within ten seconds."""
    tally, rng, task, durations = OutcomeTally(), new_rng(), progress.add_task("rolling restart", total=rounds), []
    async with running_cluster(postgres) as running:
        for _ in range(rounds):
            durations += await rolling_round(running, tally, rng, calls // 3)
            progress.advance(task)
            progress.print(f"[dim]{tally}; processes stopped within {max(durations):.1f} s[/dim]")
        refused = running.balancer.refused_connections
    passed = not (tally.failed or tally.unaffected_failed or tally.cut or refused)
    return tally, passed and max(durations) < 10 and percentile(tally.silences_seconds, 0.95) <= 1.5


async def report_restarts(postgres, progress, rounds, calls):
    """Replace the workers of one machine by SIGHUP, with SQLite and with two workers: no call is refused or lost."""
    tally, rng, task, refused = OutcomeTally(), new_rng(), progress.add_task("SIGHUP", total=2 * rounds), 0
    with tempfile.TemporaryDirectory() as folder:
        machines = (running_machine(Path(folder)), running_cluster(postgres, 1, "--workers", "2"))
        for workers, running in enumerate(machines, start=1):
            async with running as machine:
                for _ in range(rounds):
                    await reload_round(machine, tally, rng, calls // 3, workers)
                    progress.advance(task)
                    progress.print(f"[dim]{workers} workers: {tally}[/dim]")
                refused += machine.balancer.refused_connections
    return tally, not (tally.failed or tally.unaffected_failed or tally.cut or refused)


async def report_database_outage(postgres, progress, rounds, calls):
    """Pause the database for 30 s during live calls."""
    task = progress.add_task("database paused for 30 s", total=rounds)
    for _ in range(rounds):
        report = await outage_round(postgres, calls // 3)
        progress.advance(task)
        progress.print(f"[dim]{report}[/dim]")
    return report, report.is_ok


async def report_redis_outages(postgres, progress, rounds, calls):
    """Fail Redis, a process or both per round, with two and four processes: no call is lost, monitors soon recover."""
    task = progress.add_task("Redis unavailable for 30 s", total=len(PROCESSES) * rounds)

    def on_round(report):
        progress.advance(task)
        progress.print(f"[dim]{report}[/dim]")

    reports = [await run_redis_outages(postgres, processes, rounds, calls // 3, on_round) for processes in PROCESSES]
    return "; ".join(map(str, reports)), all(report.is_ok for report in reports)


async def main():
    parser = argparse.ArgumentParser(prog="python -m tests.resilience", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*SUITES, []], default=[])
    parser.add_argument("--rounds", type=int, help="rounds of each kind; default: " + str(ROUNDS))
    parser.add_argument("--calls", type=int, default=60, help="concurrent calls")
    options = parser.parse_args()
    run = {
        "kill": report_kills,
        "hang-up": report_hang_ups,
        "rolling": report_rolling_restarts,
        "restarts": report_restarts,
        "database": report_database_outage,
        "redis": report_redis_outages,
    }
    results = []
    with PostgresServer() as postgres, Progress(console=console) as progress:
        for kind in options.kinds or SUITES:
            report, passed = await run[kind](postgres, progress, options.rounds or ROUNDS[kind], options.calls)
            results.append((kind, report, passed))
    for kind, report, passed in results:
        console.print(
            f"[bold]{kind}[/bold]: {report} [{'green' if passed else 'red'}]{'passed' if passed else 'FAILED'}"
        )
    return all(passed for _, _, passed in results)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
