"""Circuit breaker and latency statistics of one service (recognition or synthesis) of one provider.

FAILURE_THRESHOLD failures in a row, or refused credentials, open the breaker: calls no longer wait for the provider.
After a delay that doubles from failure to failure, the gateway sends a probe of its own; calls use the service again
when the probe has succeeded. A caller must never be the probe.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, ServiceKind, SpeechError

LOG = logging.getLogger(__name__)

FAILURE_THRESHOLD = 3  # failures in a row
PROBE_BACKOFF = Backoff(initial_seconds=5.0, max_seconds=60.0)
MAX_LATENCY_SAMPLES = 200  # of the latest successes
PROBE_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = 8.0  # that an unreachable provider may delay the gateway's start; loading an SDK takes 1 or 2

BreakerState = Literal["closed", "open", "half_open"]


class ServiceStatus(msgspec.Struct, frozen=True):
    """The state and statistics of one service.

    Attributes:
        state: ``closed`` in normal operation, ``open`` while calls do not use it, ``half_open`` during a probe.
        latency_p50_ms: From the request to the first audio, or from the end of an utterance to its text.
        last_error: Safe to show.
        last_error_age_seconds: How long ago the last error happened.
    """

    provider: Tier
    service: ServiceKind
    state: BreakerState
    successes: int
    failures: int
    latency_p50_ms: int | None = None
    latency_p95_ms: int | None = None
    last_error: str = ""
    last_error_age_seconds: int | None = None


class ProviderTimeout(SpeechError):
    """A provider did not deliver in time: it is probably unreachable, for all of its services."""


class Startable(Protocol):
    """A provider's recognizer or synthesizer."""

    async def start(self) -> None:
        """Prepare the provider. Raises SpeechError."""


class CircuitBreaker:
    """The breaker of one service. ``probe`` tries the service while the breaker is open, and raises SpeechError."""

    def __init__(self, provider: Tier, service: ServiceKind, probe: Callable[[], Awaitable[None]]) -> None:
        self.provider: Tier = provider
        self.service: ServiceKind = service
        self._probe = probe
        self._state: BreakerState = "closed"
        self._consecutive_failures = self._successes = self._failures = 0
        self._consecutive_successes = 0
        self._times_opened = 0
        self._latencies: deque[float] = deque(maxlen=MAX_LATENCY_SAMPLES)
        self._last_error: tuple[float, str] | None = None  # loop time and message
        self._probe_timer: asyncio.TimerHandle | None = None
        self._probe_task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def is_closed(self) -> bool:
        """Whether calls should use the service now, if they have an alternative."""
        return self._state == "closed"

    def record_success(self, latency_seconds: float | None = None) -> None:
        """Count a successful request, with its latency if there is one to measure."""
        self._successes += 1
        self._consecutive_failures = 0
        self._consecutive_successes += 1
        if self._consecutive_successes >= FAILURE_THRESHOLD:
            self._times_opened = 0
        if latency_seconds is not None:
            self._latencies.append(latency_seconds)

    def record_failure(self, error: SpeechError, *, force_open: bool = False) -> None:
        """Count a failed request and open the breaker if there were too many; RequestNotSupported does not count.

        ``force_open`` opens it after a single failure, when it is certain that further requests would fail too.
        """
        if isinstance(error, RequestNotSupported):
            return
        now = asyncio.get_running_loop().time()
        self._failures += 1
        self._consecutive_failures += 1
        self._consecutive_successes = 0
        self._last_error = (now, str(error))
        force_open = (
            force_open or self._consecutive_failures >= FAILURE_THRESHOLD or isinstance(error, AuthenticationFailed)
        )
        if self._state == "closed" and force_open:
            LOG.warning(
                "circuit breaker opened: %s of %s is not used for the next %g s: %s",
                self.service,
                self.provider,
                PROBE_BACKOFF.delay_seconds(self._times_opened + 1),
                error,
            )
            self._open()

    def status(self) -> ServiceStatus:
        """Return the current state and statistics."""
        latencies = sorted(self._latencies)
        error_time, error = self._last_error or (0.0, "")
        return ServiceStatus(
            self.provider,
            self.service,
            self._state,
            self._successes,
            self._failures,
            _percentile_ms(latencies, 0.5),
            _percentile_ms(latencies, 0.95),
            error,
            round(asyncio.get_running_loop().time() - error_time) if self._last_error else None,
        )

    async def aclose(self) -> None:
        """Stop probing."""
        self._stopped = True
        if self._probe_timer:
            self._probe_timer.cancel()
        if self._probe_task:
            self._probe_task.cancel()
            await asyncio.gather(self._probe_task, return_exceptions=True)

    def _open(self) -> None:
        """Open, and schedule a probe; the delay doubles until the service has been healthy for a while."""
        self._state = "open"
        self._times_opened += 1
        if not self._stopped:
            loop = asyncio.get_running_loop()  # an empty context: the probe must not log as the call that failed
            delay_seconds = PROBE_BACKOFF.delay_seconds(self._times_opened)
            self._probe_timer = loop.call_later(delay_seconds, self._start_probe, context=Context())

    def _start_probe(self) -> None:
        self._state = "half_open"
        self._probe_task = asyncio.get_running_loop().create_task(self._run_probe(), name=f"probe of {self.provider}")

    async def _run_probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._probe()
        except RequestNotSupported:
            self._close()  # the provider responds; that it does not take this request does not matter
        except (SpeechError, TimeoutError) as error:
            self._reopen(str(error) or f"the probe got no response within {PROBE_TIMEOUT_SECONDS:g} s")
        except Exception:  # a bug in the provider
            LOG.exception("the probe of %s of %s failed unexpectedly", self.service, self.provider)
            self._reopen("the probe failed; the log has the details")
        else:
            self._close()

    def _close(self) -> None:
        LOG.info("circuit breaker closed: %s of %s is used again", self.service, self.provider)
        self._consecutive_failures = 0
        self._state = "closed"

    def _reopen(self, error: str) -> None:
        self._last_error = (asyncio.get_running_loop().time(), error)
        self._open()


async def start_providers(providers: Mapping[Tier, tuple[Startable, CircuitBreaker]]) -> None:
    """Start all providers concurrently. The breaker of one that fails is open from the beginning; the gateway starts.

    Raises SpeechError if local speech is the only provider and fails.
    """
    errors = await asyncio.gather(*(_start_provider(*service) for service in providers.values()))
    if tuple(providers) == ("local",) and errors[0]:
        raise errors[0]


async def _start_provider(provider: Startable, breaker: CircuitBreaker) -> SpeechError | None:
    try:
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            await provider.start()
    except SpeechError as error:
        failure = error
    except TimeoutError:
        failure = SpeechError(f"{breaker.provider} was not ready within {START_TIMEOUT_SECONDS:g} s")
    except Exception:  # a bug in the provider, or its SDK does not fit the environment: others can do without it
        LOG.exception("%s of %s could not be started", breaker.service, breaker.provider)
        failure = SpeechError(f"{breaker.provider} could not be started; the log has the details")
    else:
        return None
    breaker.record_failure(failure, force_open=True)
    return failure


def _percentile_ms(sorted_seconds: list[float], quantile: float) -> int | None:
    if not sorted_seconds:
        return None
    index = min(len(sorted_seconds) - 1, int(quantile * len(sorted_seconds)))
    return round(sorted_seconds[index] * 1000)
