"""Prometheus metrics of this process, in a registry of their own, and gauges of the whole gateway at scrape time.

Labels are few and known in advance: never a tenant, flow or call. If several processes share a port, a scrape reaches
one of them at random. Every metric of a process therefore has its id as a label, so that one process's counter is not
taken for another's; the gateway's gauges are the same from every process.
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
    "processes": "Running processes, without those that are draining",
    "draining_processes": "Processes that are draining",
    "live_calls": "Calls with an open stream, in all processes",
    "call_capacity": "Calls that all processes accept at once, without those that are draining",
    "calls_per_second": "Calls that reached a flow, in all processes",
    "event_loop_lag_seconds": "Event loop lag of the process where it is highest, p99 of 5 s",
}


PartName = TypeVar("PartName", bound=str)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._turn_latency = Histogram(
            "vocelio_turn_latency_seconds",
            "From the end of the caller's speech to the first audio of the answer at the caller, by part",
            ("part",),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._speech_latency = Histogram(
            "vocelio_speech_latency_seconds",
            "Synthesis: from the request to the first audio. Recognition: from the end of the utterance to its text",
            ("provider", "service"),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._tts_characters = self._provider_counter("vocelio_tts_characters", "Characters sent to be synthesized")
        self._stt_audio_seconds = self._provider_counter(
            "vocelio_stt_audio_seconds", "Seconds of audio sent to be recognized"
        )
        self._speech_failures = Counter(
            "vocelio_speech_failures",
            "Failed requests to a speech provider",
            ("provider", "service"),
            registry=self._registry,
        )
        self._provider_up = Gauge(
            "vocelio_speech_provider_up",
            "1 while calls use the service, 0 while its circuit breaker is open",
            ("provider", "service"),
            registry=self._registry,
        )
        self._live_calls = self._gauge("vocelio_live_calls", "Calls with an open stream")
        self._calls_started = Counter("vocelio_calls_started", "Calls that reached a flow", registry=self._registry)
        self._calls_rejected = Counter(
            "vocelio_calls_rejected",
            "Calls that did not reach a flow, by outcome",
            ("outcome",),
            registry=self._registry,
        )
        self._calls_ended = Counter(
            "vocelio_calls_ended",
            "Calls that reached a flow and have ended, by outcome; `lost` should stay at zero",
            ("outcome",),
            registry=self._registry,
        )
        self._call_capacity = self._gauge("vocelio_call_capacity", "Calls that the process accepts at once")
        self._event_loop_lag = self._gauge("vocelio_event_loop_lag_seconds", "Event loop lag, p99 of 5 s")
        self._draining = self._gauge("vocelio_draining", "1 while the process is draining, else 0")
        self._pubsub_dropped = Counter(
            "vocelio_pubsub_dropped", "Messages to other processes that Redis did not accept", registry=self._registry
        )
        self._last_dropped = 0

    def observe_turn_latency(self, seconds_by_part: Mapping[PartName, float]) -> None:
        """Record the latency of one answered turn, by part and in total."""
        for part, seconds in seconds_by_part.items():
            self._turn_latency.labels(part).observe(seconds)
        self._turn_latency.labels("total").observe(sum(seconds_by_part.values()))

    def observe_synthesis(self, provider: str, characters: int, latency_seconds: float | None) -> None:
        """Record one synthesis request; without a latency if no audio came."""
        self._tts_characters.labels(provider).inc(characters)
        if latency_seconds is not None:
            self._speech_latency.labels(provider, "synthesis").observe(latency_seconds)

    def observe_recognition(self, provider: str, audio_seconds: float, latency_seconds: float | None) -> None:
        """Record one recognition; without a latency if there was no text after the end of the utterance."""
        self._stt_audio_seconds.labels(provider).inc(audio_seconds)
        if latency_seconds is not None:
            self._speech_latency.labels(provider, "recognition").observe(latency_seconds)

    def count_failure(self, provider: str, service: str) -> None:
        """Count a failed request to a speech provider."""
        self._speech_failures.labels(provider, service).inc()

    def count_started(self) -> None:
        """Count a call that reached a flow."""
        self._calls_started.inc()

    def count_rejected(self, outcome: str) -> None:
        """Count a call that did not reach a flow."""
        self._calls_rejected.labels(outcome).inc()

    def count_ended(self, outcome: str) -> None:
        """Count the end of a call that had reached a flow."""
        self._calls_ended.labels(outcome).inc()

    def set_load(self, capacity: int, lag_seconds: float, draining: bool) -> None:
        """Set this process's call capacity, event loop lag and drain state."""
        self._call_capacity.set(capacity)
        self._event_loop_lag.set(lag_seconds)
        self._draining.set(draining)

    def set_dropped(self, total_dropped: int) -> None:
        """Set how many messages to other processes were dropped since the start."""
        self._pubsub_dropped.inc(total_dropped - self._last_dropped)
        self._last_dropped = total_dropped

    def render(
        self,
        process_id: str,
        live_calls: int,
        providers_up: Iterable[tuple[str, str, bool]],
        gateway_gauges: Mapping[str, float],
    ) -> bytes:
        """Render all metrics in Prometheus' text format.

        Args:
            process_id: The label of this process's metrics.
            live_calls: This process's calls with an open stream.
            providers_up: Provider, service, and whether calls use it now.
            gateway_gauges: Values for the whole gateway, by the names in ``_GATEWAY_GAUGES``.
        """
        self._live_calls.set(live_calls)
        for provider, service, up in providers_up:
            self._provider_up.labels(provider, service).set(up)
        return generate_latest(_ScrapeCollector(self._registry, process_id, gateway_gauges))

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self._registry)

    def _provider_counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, ("provider",), registry=self._registry)


@dataclass(frozen=True)
class _ScrapeCollector:
    """Collects for one scrape: adds the process label to the registry's metrics, and the gateway's gauges."""

    registry: CollectorRegistry
    process_id: str
    gateway_gauges: Mapping[str, float]

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            for index, sample in enumerate(metric.samples):
                metric.samples[index] = sample._replace(labels={**sample.labels, "process": self.process_id})
            yield metric
        for name, value in self.gateway_gauges.items():
            yield GaugeMetricFamily(f"vocelio_gateway_{name}", _GATEWAY_GAUGES[name], value)
