"""A message: where it begins and ends, and what is left out of it."""

from vocelio.gateway.media.voicemail import Voicemail

FRAME = 160


def hear(mail, seconds, byte=b"w"):
    """So much sound, as long as the message lasts: what is kept of it."""
    kept = b""
    for _ in range(round(seconds / 0.02)):
        if mail.over:
            break
        kept += mail.hear(byte * FRAME)
    return kept


def at(seconds):
    return round(seconds * 8000)


def message(silence=2.0, longest=10.0, speaking=False):
    return Voicemail(silence, longest, speaking=speaking)


def test_a_caller_who_says_nothing():
    mail = message()
    assert hear(mail, 5, b"s") == b""
    assert mail.over


def test_a_message_without_the_silence_around_it():
    mail = message()
    kept = hear(mail, 1.5, b"s")
    mail.voice()
    kept += hear(mail, 3)
    mail.quiet(0.6)  # the detector says so when it has been silent for a while
    kept += hear(mail, 5, b"s")
    assert mail.over
    assert kept == b"s" * at(0.5) + b"w" * at(3)


def test_a_pause_is_part_of_it():
    mail = message()
    mail.voice()
    kept = hear(mail, 1)
    mail.quiet(0.0)
    kept += hear(mail, 1.5, b"s")
    assert not mail.over
    assert kept.endswith(b"w" + b"s" * at(0.5)), "as much as may be its end"
    mail.voice()
    kept += hear(mail, 1)
    assert kept == b"w" * at(1) + b"s" * at(1.5) + b"w" * at(1)


def test_the_longest_message():
    mail = message(longest=3)
    mail.voice()
    assert len(hear(mail, 5)) == at(3)
    assert mail.over


def test_who_speaks_already_is_heard_from_the_first_sound():
    mail = message(speaking=True)
    assert hear(mail, 1) == b"w" * at(1)


def test_the_silence_counts_from_the_last_voice():
    mail = message(silence=2)
    mail.voice()
    hear(mail, 2)
    mail.quiet(0.6)
    hear(mail, 1.38, b"s")
    assert not mail.over
    hear(mail, 0.02, b"s")
    assert mail.over
