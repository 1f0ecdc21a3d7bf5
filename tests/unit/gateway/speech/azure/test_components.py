import asyncio
import threading
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.engine.voice import Voice
from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure import synthesizer
from vocelio.gateway.speech.azure.daemon_pool import DaemonThreadPool
from vocelio.gateway.speech.azure.sdk_events import to_speech_error
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RequestNotSupported, SpeechError


def test_key_is_not_shown_in_the_account_representation():
    account = AzureSettings(key="secret", region="westeurope")
    assert "secret" not in f"{account} {account!r} {account.__rich_repr__()}"
    assert "westeurope" in repr(account)


@pytest.mark.parametrize(
    ("code", "details", "kind", "number"),
    [
        ("AuthenticationFailure", "WebSocket upgrade failed: Authentication error (401).", AuthenticationFailed, "401"),
        ("Forbidden", "", AuthenticationFailed, "Forbidden"),
        ("TooManyRequests", "WebSocket upgrade failed: Too many requests (429).", SpeechError, "429"),
        ("BadRequest", "Error code: 1007. Error details: Quota exceeded.", SpeechError, "1007"),
        ("ConnectionFailure", "Error code: 4429. Error details: The request is throttled.", SpeechError, "4429"),
        ("BadRequest", "Error code: 1007. Error details: Unsupported voice x.", RequestNotSupported, "voice"),
        ("BadRequest", "Error code: 1007. Error details: Ssml parse error: secret.", RequestNotSupported, "1007"),
        ("ServiceTimeout", "secret", SpeechError, "ServiceTimeout"),
        ("a new one", "secret", SpeechError, "a new one"),
    ],
)
def test_service_error_text_is_not_passed_on(code, details, kind, number):
    error = to_speech_error(code, details)
    assert type(error) is kind
    assert number in str(error)
    assert "secret" not in str(error)


@given(st.text(), st.text(max_size=100), st.floats(0.25, 4.0))
def test_any_text_becomes_a_valid_ssml_document(text, name, speed):
    text = synthesizer.strip_invalid_xml(text)
    root = ElementTree.fromstring(synthesizer.build_ssml(text, Voice(tier="azure", name=name, speed=speed)))
    assert "".join(root.itertext()) == text.replace("\r\n", "\n").replace("\r", "\n")  # as XML reads line ends


async def test_pool_starts_only_as_many_threads_as_needed():
    threads, release = DaemonThreadPool("test", max_threads=2), threading.Event()
    jobs = [threads.run(lambda: release.wait(5)) for _ in range(3)]
    assert threads.pending == 3
    assert sum(thread.name == "test" for thread in threading.enumerate()) == 2
    assert threads.pending_longer_than(60) == 0
    release.set()
    assert await asyncio.gather(*jobs) == [True] * 3
    assert await threads.aclose(1) == threads.pending == 0
    assert not any(thread.name == "test" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        threads.run(release.wait)


async def test_hanging_thread_is_abandoned_on_close(caplog):
    threads, release = DaemonThreadPool("test", max_threads=2), threading.Event()
    hanging, done = threads.run(release.wait), threads.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await done
    assert await threads.aclose(0.05) == 1
    assert "thread pool test: 1 calls did not return" in caplog.text
    assert threads.pending_longer_than(0) == 1
    release.set()
    assert await hanging


def test_thread_may_outlive_the_event_loop():
    release = threading.Event()

    async def begin():
        DaemonThreadPool("outliving", max_threads=1).run(release.wait)

    asyncio.run(begin())
    release.set()
    for thread in threading.enumerate():
        if thread.name == "outliving":
            thread.join(0.5)  # it waits for more, as a daemon does
            assert thread.is_alive()
