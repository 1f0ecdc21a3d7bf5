"""Trimming of voicemail messages: start, end, removed silence."""

from vocelio.gateway.media.voicemail import VoicemailTrimmer

FRAME_BYTES = 160


def feed(mail, seconds, byte=b"w"):
    """Feed audio while the message lasts; return what is kept."""
    kept = b""
    for _ in range(round(seconds / 0.02)):
        if mail.is_over:
            break
        kept += mail.on_audio(byte * FRAME_BYTES)
    return kept


def to_bytes(seconds):
    return round(seconds * 8000)


def make_trimmer(silence=2.0, longest=10.0, speaking=False):
    return VoicemailTrimmer(silence, longest, speaking=speaking)


def test_silent_message_is_empty():
    mail = make_trimmer()
    assert feed(mail, 5, b"s") == b""
    assert mail.is_over


def test_silence_around_a_message_is_removed():
    mail = make_trimmer()
    kept = feed(mail, 1.5, b"s")
    mail.on_voice()
    kept += feed(mail, 3)
    mail.on_silence(0.6)  # the detector says so when it has been silent for a while
    kept += feed(mail, 5, b"s")
    assert mail.is_over
    assert kept == b"s" * to_bytes(0.5) + b"w" * to_bytes(3)


def test_pause_is_kept():
    mail = make_trimmer()
    mail.on_voice()
    kept = feed(mail, 1)
    mail.on_silence(0.0)
    kept += feed(mail, 1.5, b"s")
    assert not mail.is_over
    assert kept.endswith(b"w" + b"s" * to_bytes(0.5)), "as much as may be its end"
    mail.on_voice()
    kept += feed(mail, 1)
    assert kept == b"w" * to_bytes(1) + b"s" * to_bytes(1.5) + b"w" * to_bytes(1)


def test_message_ends_at_the_maximum_duration():
    mail = make_trimmer(longest=3)
    mail.on_voice()
    assert len(feed(mail, 5)) == to_bytes(3)
    assert mail.is_over


def test_message_of_a_speaking_caller_starts_at_once():
    mail = make_trimmer(speaking=True)
    assert feed(mail, 1) == b"w" * to_bytes(1)


def test_silence_is_counted_from_the_end_of_speech():
    mail = make_trimmer(silence=2)
    mail.on_voice()
    feed(mail, 2)
    mail.on_silence(0.6)
    feed(mail, 1.38, b"s")
    assert not mail.is_over
    feed(mail, 0.02, b"s")
    assert mail.is_over
