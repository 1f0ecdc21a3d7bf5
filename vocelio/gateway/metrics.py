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

_LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_GATEWAY_GAUGES = {
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
        self._turn_latency = Histogram(
            "vocelio_answer_seconds",
            "From the caller's last sound to the answer's first in the caller's ear, by part",
            ("part",),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._speech_latency = Histogram(
            "vocelio_speech_seconds",
            "Synthesis: from the request to its first sound. Recognition: from the utterance's end to its text",
            ("provider", "service"),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._tts_characters = self._provider_counter(
            "vocelio_synthesised_characters", "Characters that were to be spoken"
        )
        self._stt_audio_seconds = self._provider_counter(
            "vocelio_recognised_seconds", "Seconds of sound sent to be recognised"
        )
        self._speech_failures = Counter(
            "vocelio_speech_failures",
            "Requests that a provider did not serve",
            ("provider", "service"),
            registry=self._registry,
        )
        self._provider_up = Gauge(
            "vocelio_speech_usable",
            "1 while calls use the service, 0 while its breaker is open",
            ("provider", "service"),
            registry=self._registry,
        )
        self._live_calls = Gauge("vocelio_live_calls", "Calls with an open stream", registry=self._registry)
        self._calls_started = Counter("vocelio_calls_begun", "Calls that came to a flow", registry=self._registry)
        self._calls_rejected = Counter(
            "vocelio_calls_refused", "Calls that came to no flow, by why", ("outcome",), registry=self._registry
        )
        self._call_capacity = Gauge("vocelio_capacity", "Calls that the process takes at once", registry=self._registry)
        self._event_loop_lag = Gauge(
            "vocelio_loop_lag_seconds", "How late the event loop is, p99 of 5 s", registry=self._registry
        )
        self._draining = Gauge("vocelio_draining", "1 while the process leaves, else 0", registry=self._registry)
        self._pubsub_dropped = Counter(
            "vocelio_messages_lost", "Messages to other processes that Redis did not take", registry=self._registry
        )
        self._last_dropped = 0

    def observe_turn_latency(self, seconds_by_part: Mapping[PartName, float]) -> None:
        """A turn was answered; seconds by part."""
        for part, seconds in seconds_by_part.items():
            self._turn_latency.labels(part).observe(seconds)
        self._turn_latency.labels("whole").observe(sum(seconds_by_part.values()))

    def observe_synthesis(self, provider: str, characters: int, latency_seconds: float | None) -> None:
        """A provider spoke."""
        self._tts_characters.labels(provider).inc(characters)
        if latency_seconds is not None:
            self._speech_latency.labels(provider, "synthesis").observe(latency_seconds)

    def observe_recognition(self, provider: str, audio_seconds: float, latency_seconds: float | None) -> None:
        """A provider listened."""
        self._stt_audio_seconds.labels(provider).inc(audio_seconds)
        if latency_seconds is not None:
            self._speech_latency.labels(provider, "recognition").observe(latency_seconds)

    def count_failure(self, provider: str, service: str) -> None:
        """A provider did not serve."""
        self._speech_failures.labels(provider, service).inc()

    def count_started(self) -> None:
        """A call came to a flow."""
        self._calls_started.inc()

    def count_rejected(self, outcome: str) -> None:
        """A call came to none."""
        self._calls_rejected.labels(outcome).inc()

    def set_load(self, capacity: int, lag_seconds: float, draining: bool) -> None:
        """How the process stands: calls that it takes, seconds that its event loop is late, whether it leaves."""
        self._call_capacity.set(capacity)
        self._event_loop_lag.set(lag_seconds)
        self._draining.set(draining)

    def set_dropped(self, total_dropped: int) -> None:
        """How many messages to other processes were dropped, since the start."""
        self._pubsub_dropped.inc(total_dropped - self._last_dropped)
        self._last_dropped = total_dropped

    def render(
        self,
        process_id: str,
        live_calls: int,
        providers_up: Iterable[tuple[str, str, bool]],
        gateway_gauges: Mapping[str, float],
    ) -> bytes:
        """All of it, in Prometheus' text format.

        ``process`` is this process's id; so many calls are ``live`` and these services ``usable`` now. ``whole`` has
        what is known of the whole gateway, by the names of ``_WHOLE``.
        """
        self._live_calls.set(live_calls)
        for provider, service, good in providers_up:
            self._provider_up.labels(provider, service).set(good)
        return generate_latest(_ScrapeCollector(self._registry, process_id, gateway_gauges))

    def _provider_counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, ("provider",), registry=self._registry)


@dataclass(frozen=True)
class _ScrapeCollector:
    """What is told at a time, as Prometheus' client collects it."""

    registry: CollectorRegistry
    process_id: str
    gateway_gauges: Mapping[str, float]

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            for place, sample in enumerate(metric.samples):
                metric.samples[place] = sample._replace(labels={**sample.labels, "process": self.process_id})
            yield metric
        for name, value in self.gateway_gauges.items():
            yield GaugeMetricFamily(f"vocelio_gateway_{name}", _GATEWAY_GAUGES[name], value)
