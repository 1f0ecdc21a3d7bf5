"""How long callers heard nothing when their stream ended under them, from what they heard."""

from dataclasses import dataclass, field

from vocelio.gateway.simulator.media.voice_detection import voiced_span


def silences_seconds(report):
    """Seconds from the end of each stream but the last to the first sound after it; None where none came."""
    found = []
    for stream in report.streams[:-1]:
        start = max(0, round((stream.closed_at - report.answered_at) * 8_000))
        first, last = voiced_span(report.heard_audio[start:])
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
class OutcomeTally:
    """What came of all rounds so far."""

    rounds: int = 0
    calls: int = 0
    cut: int = 0
    failed: list = field(default_factory=list)
    unaffected_failed: list = field(default_factory=list)
    silences_seconds: list = field(default_factory=list)
    late_ms: list = field(default_factory=list)  # silence within prompts of the calls that were not cut

    @property
    def recovered_share(self):
        """The share of the calls whose stream was cut that reached their right outcome."""
        return 1 - len({text.partition(":")[0] for text in self.failed}) / max(1, self.cut)

    def __str__(self):
        p50, p95, longest = (_format_seconds(self.silences_seconds, share) for share in (0.5, 0.95, 1))
        return (
            f"{self.rounds} rounds, {self.calls} calls, {self.cut} cut, "
            f"{100 * self.recovered_share:.2f} % of these resumed correctly; "
            f"silence p50 {p50}, p95 {p95}, longest {longest}; "
            f"of the other calls {len(self.unaffected_failed)} failed, "
            f"late audio p99 {percentile(self.late_ms, 0.99) or 0:.0f} ms"
        )


def _format_seconds(values, share):
    value = percentile(values, share)
    return "-" if value is None else f"{value:.2f} s"
