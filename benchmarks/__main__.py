"""Run the benchmarks of calls, barge-in and engine steps, and print their tables."""

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import barge_in, calls, engine_step


def main() -> None:
    """Run one benchmark after the other, so that they do not share the processor."""
    console = Console()
    table = Table(
        "server", "calls", "CPU ms per call-second", "ratio", "messages in", "messages out", "errors", box=None
    )
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("calls", total=len(calls.SERVER_KINDS) * 2)
        for row in calls.measure_all():
            progress.advance(task)
            table.add_row(
                row.server,
                str(row.calls),
                f"{row.cpu_ms_per_call_second:.2f}",
                f"{row.ratio:.2f}",
                str(row.frames_sent),
                str(row.messages_received),
                str(row.errors),
            )
    console.print(table)
    console.print()
    latency = barge_in.measure()
    figures = (f"{latency.p50_ms:.0f}", f"{latency.p95_ms:.0f}", f"{latency.max_ms:.0f}", str(latency.errors))
    table = Table("calls", "interruptions", "p50 ms", "p95 ms", "max ms", "errors", box=None)
    table.add_row(str(latency.calls), str(latency.interruptions), *figures)
    console.print(table)
    console.print()
    engine_step.main()


if __name__ == "__main__":
    main()
