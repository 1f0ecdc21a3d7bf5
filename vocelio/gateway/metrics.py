"""The process's figures for Prometheus, in a registry of their own; and, when it is asked, those of the whole gateway.

Labels are few and known beforehand: no tenant, flow or call is one. Whoever asks a port that several processes share
meets one of them by chance. So each figure of a process has that one's id as a label, lest one's counter seem to go on
as another's; and those of the whole gateway are the same from all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_WHOLE = {
    "processes": "Processes that there are, without those that leave",
    "draining_processes": "Processes that leave",
    "live_calls": "Calls with an open stream, in all processes",
    "capacity": "Calls that all processes take at once, without those that leave",
    "calls_per_second": "Calls that came to a flow, in all processes",
    "loop_lag_seconds": "How late the event loop is in the process where it is latest, p99 of 5 s",
}


PartName = TypeVar("PartName", bound=str)


class Metrics:
    """One process's."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "vocelio_answer_seconds",
            "From the caller's last sound to the answer's first in the caller's ear, by part",
            ("part",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first = Histogram(
            "vocelio_speech_seconds",
            "Synthesis: from the request to its first sound. Recognition: from the utterance's end to its text",
            ("provider", "service"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._characters = self._counter("vocelio_synthesised_characters", "Characters that were to be spoken")
        self._heard = self._counter("vocelio_recognised_seconds", "Seconds of sound sent to be recognised")
        self._failures = Counter(
            "vocelio_speech_failures",
            "Requests that a provider did not serve",
            ("provider", "service"),
            registry=self._registry,
        )
        self._usable = Gauge(
            "vocelio_speech_usable",
            "1 while calls use the service, 0 while its breaker is open",
            ("provider", "service"),
            registry=self._registry,
        )
        self._live = Gauge("vocelio_live_calls", "Calls with an open stream", registry=self._registry)
        self._begun = Counter("vocelio_calls_begun", "Calls that came to a flow", registry=self._registry)
        self._refused = Counter(
            "vocelio_calls_refused", "Calls that came to no flow, by why", ("outcome",), registry=self._registry
        )
        self._capacity = Gauge("vocelio_capacity", "Calls that the process takes at once", registry=self._registry)
        self._lag = Gauge("vocelio_loop_lag_seconds", "How late the event loop is, p99 of 5 s", registry=self._registry)
        self._draining = Gauge("vocelio_draining", "1 while the process leaves, else 0", registry=self._registry)
        self._lost = Counter(
            "vocelio_messages_lost", "Messages to other processes that Redis did not take", registry=self._registry
        )
        self._lost_before = 0

    def answered(self, parts: Mapping[PartName, float]) -> None:
        """A turn was answered; seconds by part."""
        for part, seconds in parts.items():
            self._latency.labels(part).observe(seconds)
        self._latency.labels("whole").observe(sum(parts.values()))

    def synthesised(self, provider: str, characters: int, seconds: float | None) -> None:
        """A provider spoke."""
        self._characters.labels(provider).inc(characters)
        if seconds is not None:
            self._first.labels(provider, "synthesis").observe(seconds)

    def recognised(self, provider: str, seconds: float, after: float | None) -> None:
        """A provider listened."""
        self._heard.labels(provider).inc(seconds)
        if after is not None:
            self._first.labels(provider, "recognition").observe(after)

    def failed(self, provider: str, service: str) -> None:
        """A provider did not serve."""
        self._failures.labels(provider, service).inc()

    def begun(self) -> None:
        """A call came to a flow."""
        self._begun.inc()

    def refused(self, outcome: str) -> None:
        """A call came to none."""
        self._refused.labels(outcome).inc()

    def load(self, capacity: int, lag: float, draining: bool) -> None:
        """How the process stands: calls that it takes, seconds that its event loop is late, whether it leaves."""
        self._capacity.set(capacity)
        self._lag.set(lag)
        self._draining.set(draining)

    def lost(self, messages: int) -> None:
        """How many messages to other processes were dropped, since the start."""
        self._lost.inc(messages - self._lost_before)
        self._lost_before = messages

    def text(
        self, process: str, live: int, usable: Iterable[tuple[str, str, bool]], whole: Mapping[str, float]
    ) -> bytes:
        """All of it, in Prometheus' text format.

        ``process`` is this process's id; so many calls are ``live`` and these services ``usable`` now. ``whole`` has
        what is known of the whole gateway, by the names of ``_WHOLE``.
        """
        self._live.set(live)
        for provider, service, good in usable:
            self._usable.labels(provider, service).set(good)
        return generate_latest(_Told(self._registry, process, whole))

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, what, ("provider",), registry=self._registry)


@dataclass(frozen=True)
class _Told:
    """What is told at a time, as Prometheus' client collects it."""

    registry: CollectorRegistry
    process: str
    whole: Mapping[str, float]

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            for place, sample in enumerate(metric.samples):
                metric.samples[place] = sample._replace(labels={**sample.labels, "process": self.process})
            yield metric
        for name, value in self.whole.items():
            yield GaugeMetricFamily(f"vocelio_gateway_{name}", _WHOLE[name], value)
