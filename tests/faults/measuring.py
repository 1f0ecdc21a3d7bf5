"""How long callers heard nothing when their stream ended under them, from what they heard."""

from dataclasses import dataclass, field

from vocelio.gateway.simulator.media.voice_detection import voiced


def gaps(report):
    """Seconds from the end of each stream but the last to the first sound after it; None where none came."""
    found = []
    for stream in report.streams[:-1]:
        start = max(0, round((stream.closed - report.answered) * 8_000))
        first, last = voiced(report.heard[start:])
        found.append(first / 8_000 if last else None)
    return found


def was_cut(report):
    """Whether a stream of the call broke off, or was closed by the gateway before its end."""
    return any(stream.closed_by == "lost" for stream in report.streams)


def percentile(values, share):
    """Of sorted or unsorted values; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


@dataclass
class Tally:
    """What came of all rounds so far."""

    rounds: int = 0
    calls: int = 0
    cut: int = 0
    wrong: list = field(default_factory=list)
    unaffected_wrong: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    late_ms: list = field(default_factory=list)  # silence within prompts of the calls that were not cut

    @property
    def kept(self):
        """The share of the calls whose stream was cut that reached their right outcome."""
        return 1 - len({text.partition(":")[0] for text in self.wrong}) / max(1, self.cut)

    def __str__(self):
        return (
            f"{self.rounds} rounds, {self.calls} calls, {self.cut} cut, {100 * self.kept:.2f} % of these went on and "
            f"came out right; silence p50 {_seconds(self.gaps, 0.5)}, p95 {_seconds(self.gaps, 0.95)}, longest "
            f"{_seconds(self.gaps, 1)}; of the others {len(self.unaffected_wrong)} went wrong, late audio p99 "
            f"{percentile(self.late_ms, 0.99) or 0:.0f} ms"
        )


def _seconds(values, share):
    value = percentile(values, share)
    return "-" if value is None else f"{value:.2f} s"
