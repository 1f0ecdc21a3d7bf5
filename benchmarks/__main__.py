"""Run the benches and print their tables."""

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import barge_in, calls, engine_step


def main() -> None:
    """Every bench, one after the other."""
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
    barged = barge_in.measure()
    figures = (f"{barged.p50_ms:.0f}", f"{barged.p95_ms:.0f}", f"{barged.max_ms:.0f}", str(barged.errors))
    table = Table("calls", "interruptions", "p50 ms", "p95 ms", "largest", "errors", box=None)
    table.add_row(str(barged.calls), str(barged.interruptions), *figures)
    console.print(table)
    console.print()
    engine_step.main()


if __name__ == "__main__":
    main()
