"""Silence that callers hear after a stream loss, and tallies of outcomes."""

from dataclasses import dataclass, field

from vocelio.gateway.simulator.media.voice_detection import voiced_span


def silences_seconds(report):
    """Return the seconds from the end of each stream but the last to the next sound; None if there is none."""
    silences = []
    for stream in report.streams[:-1]:
        start = max(0, round((stream.closed_at - report.answered_at) * 8_000))
        first, last = voiced_span(report.heard_audio[start:])
        silences.append(first / 8_000 if last else None)
    return silences


def was_cut(report):
    """Return whether a stream of the call was lost."""
    return any(stream.closed_by == "lost" for stream in report.streams)


def percentile(values, share):
    """Return the percentile of values in any order; None if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


@dataclass
class OutcomeTally:
    """Outcomes of all rounds so far."""

    rounds: int = 0
    calls: int = 0
    cut: int = 0
    failed: list = field(default_factory=list)
    unaffected_failed: list = field(default_factory=list)
    silences_seconds: list = field(default_factory=list)
    late_ms: list = field(default_factory=list)  # underruns of the calls that were not cut

    @property
    def recovered_share(self):
        """Share of the calls with a lost stream that ended correctly."""
        return 1 - len({text.partition(":")[0] for text in self.failed}) / max(1, self.cut)

    def __str__(self):
        p50, p95, longest = (_format_seconds(self.silences_seconds, share) for share in (0.5, 0.95, 1))
        return (
            f"{self.rounds} rounds, {self.calls} calls, {self.cut} cut, "
            f"{100 * self.recovered_share:.2f} % of them resumed correctly; "
            f"silence p50 {p50}, p95 {p95}, longest {longest}; "
            f"of the other calls {len(self.unaffected_failed)} failed, "
            f"late audio p99 {percentile(self.late_ms, 0.99) or 0:.0f} ms"
        )


def _format_seconds(values, share):
    value = percentile(values, share)
    return "-" if value is None else f"{value:.2f} s"
