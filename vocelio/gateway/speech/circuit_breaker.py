"""How one service (recognition or synthesis) of one provider does: a circuit breaker, and how fast it is.

``FAILURES`` in a row, or credentials that are refused, open the breaker: nobody's call waits for what will not come.
After a while, which doubles from failure to failure, a probe of the gateway's own tries the service; callers come
back when that went well. So no caller is ever the one on whom it is tried.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError

LOG = logging.getLogger(__name__)

FAILURE_THRESHOLD = 3
PROBE_BACKOFF_INITIAL_SECONDS, PROBE_BACKOFF_MAX_SECONDS = 5.0, 60.0  # seconds until a probe
MAX_LATENCY_SAMPLES = 200  # of the newest successes
PROBE_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = (
    8.0  # that a provider's being far away may delay the start of the gateway; loading an SDK takes 1 or 2
)

ServiceKind = Literal["recognition", "synthesis"]
BreakerState = Literal["closed", "open", "half_open"]


class ServiceStatus(msgspec.Struct, frozen=True):
    """What is known of a service. ``closed`` is in order, ``open`` is not asked, ``half_open`` is being tried.

    ``p50_ms`` and ``p95_ms`` are from the request to the first sound, or from an utterance's end to its text.
    ``last_error`` is safe to show; ``last_error_seconds`` ago it was.
    """

    provider: Tier
    service: ServiceKind
    state: BreakerState
    successes: int
    failures: int
    p50_ms: int | None = None
    p95_ms: int | None = None
    last_error: str = ""
    last_error_seconds: int | None = None


class ProviderTimeout(SpeechError):
    """A provider did not come with what it should in time: that it is away is likely, and true of all that it does."""


class Startable(Protocol):
    """A provider's recogniser or synthesizer."""

    async def start(self) -> None:
        """Get ready. Raises SpeechError."""


class CircuitBreaker:
    """One service's. ``probe`` tries it, and raises SpeechError; it runs when the breaker has been open for a while."""

    def __init__(self, provider: Tier, service: ServiceKind, probe: Callable[[], Awaitable[None]]) -> None:
        self.provider: Tier = provider
        self.service: ServiceKind = service
        self._probe = probe
        self._state: BreakerState = "closed"
        self._consecutive_failures = self._successes = self._failures = 0
        self._consecutive_successes = 0  # successes since the last failure
        self._probe_delay_seconds = PROBE_BACKOFF_INITIAL_SECONDS
        self._latencies: deque[float] = deque(maxlen=MAX_LATENCY_SAMPLES)
        self._last_error: tuple[float, str] | None = None
        self._probe_timer: asyncio.TimerHandle | None = None
        self._probe_task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def is_closed(self) -> bool:
        """Whether calls should use it now, if they can use another."""
        return self._state == "closed"

    def record_success(self, latency_seconds: float | None = None) -> None:
        """A request went well, and took so long."""
        self._successes += 1
        self._consecutive_failures = 0
        self._consecutive_successes += 1
        if self._consecutive_successes >= FAILURE_THRESHOLD:
            self._probe_delay_seconds = PROBE_BACKOFF_INITIAL_SECONDS
        if latency_seconds is not None:
            self._latencies.append(latency_seconds)

    def record_failure(self, error: SpeechError, *, force_open: bool = False) -> None:
        """A request did not. One that was none for this provider says nothing about its health.

        ``surely``: one is enough to know that others would not either.
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
            LOG.warning("%s of %s is not used for now: %s", self.service, self.provider, error)
            self._open()

    def status(self) -> ServiceStatus:
        """What is known."""
        ordered = sorted(self._latencies)
        at, problem = self._last_error or (0.0, "")
        return ServiceStatus(
            self.provider,
            self.service,
            self._state,
            self._successes,
            self._failures,
            _percentile_ms(ordered, 0.5),
            _percentile_ms(ordered, 0.95),
            problem,
            round(asyncio.get_running_loop().time() - at) if self._last_error else None,
        )

    async def aclose(self) -> None:
        """No more probes."""
        self._stopped = True
        if self._probe_timer:
            self._probe_timer.cancel()
        if self._probe_task:
            self._probe_task.cancel()
            await asyncio.gather(self._probe_task, return_exceptions=True)

    def _open(self) -> None:
        """It stays so for longer from time to time, until it has been well for a while."""
        self._state = "open"
        if not self._stopped:
            loop = asyncio.get_running_loop()  # the probe is nobody's: what it logs is not the call's that failed
            self._probe_timer = loop.call_later(self._probe_delay_seconds, self._start_probe, context=Context())
        self._probe_delay_seconds = min(2 * self._probe_delay_seconds, PROBE_BACKOFF_MAX_SECONDS)

    def _start_probe(self) -> None:
        self._state = "half_open"
        self._probe_task = asyncio.get_running_loop().create_task(self._run_probe(), name=f"probe of {self.provider}")

    async def _run_probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._probe()
        except RequestNotSupported:
            self._close()  # it answers: that it does not like this request is another matter
        except (SpeechError, TimeoutError) as error:
            self._reopen(str(error) or f"nothing came for {PROBE_TIMEOUT_SECONDS:g} s")
        except Exception:  # a provider's defect
            LOG.exception("the probe of %s of %s failed", self.service, self.provider)
            self._reopen("the probe failed; the log says how")
        else:
            self._close()

    def _close(self) -> None:
        LOG.info("%s of %s is used again", self.service, self.provider)
        self._consecutive_failures = 0
        self._state = "closed"

    def _reopen(self, message: str) -> None:
        self._last_error = (asyncio.get_running_loop().time(), message)
        self._open()


async def start_providers(providers: Mapping[Tier, tuple[Startable, CircuitBreaker]]) -> None:
    """Get every provider ready, all at once. One that cannot is in trouble from the beginning; the gateway starts.

    Raises SpeechError when local speech is all there is, and cannot be had.
    """
    errors = await asyncio.gather(*(_start_provider(*service) for service in providers.values()))
    if tuple(providers) == ("local",) and errors[0]:
        raise errors[0]


async def _start_provider(provider: Startable, breaker: CircuitBreaker) -> SpeechError | None:
    try:
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            await provider.start()
    except SpeechError as error:
        problem = error
    except TimeoutError:
        problem = SpeechError(f"{breaker.provider} was not ready within {START_TIMEOUT_SECONDS:g} s")
    except Exception:  # a provider's defect, or what its SDK makes of the environment: others can do without it
        LOG.exception("%s of %s could not be started", breaker.service, breaker.provider)
        problem = SpeechError(f"{breaker.provider} could not be started; the log says how")
    else:
        return None
    breaker.record_failure(problem, force_open=True)
    return problem


def _percentile_ms(sorted_seconds: list[float], quantile: float) -> int | None:
    return (
        round(sorted_seconds[min(len(sorted_seconds) - 1, int(quantile * len(sorted_seconds)))] * 1000)
        if sorted_seconds
        else None
    )
