"""Two lists of actions, as the caller and the world perceive them: ids, notes and timers left out."""

from collections.abc import Sequence

import msgspec

from vocelio.engine import actions
from vocelio.engine.call_log.exchange import same
from vocelio.engine.replay.transcript import did

UNNOTICED = (actions.Note, actions.StartTimer, actions.CancelTimer, actions.StopListening, actions.StopRecording)
IDS = ("id", "key")  # a request's key is made of the visit
WORDING: dict[type, tuple[str, ...]] = {
    actions.Speak: ("text", "voice", "audio", "barge_in", "sensitive"),
    actions.Listen: ("phrases", "language", "silence", "sensitive"),
}
"""What may change without making another conversation; any other field may not."""


class Change(msgspec.Struct, frozen=True):
    """What was, what would be, and whether the call can be followed no further."""

    recorded: str
    replayed: str
    stops: bool


def changes(recorded: Sequence[actions.AnyAction], replayed: Sequence[actions.AnyAction]) -> list[Change]:
    """The differences, in order; at most the last one stops."""
    then, now = _perceived(recorded), _perceived(replayed)
    if [type(action) for action in then] != [type(action) for action in now]:
        return [Change(_told(then), _told(now), stops=True)]
    found = list[Change]()
    for was, is_ in zip(then, now, strict=True):
        if same([_bare(was)], [_bare(is_)]):
            continue
        soft = same([_bare(was)], [_bare(_reworded(is_, was))])
        found.append(Change(*_pair(was, is_), stops=not soft))
        if not soft:
            break
    return found


def _perceived(given: Sequence[actions.AnyAction]) -> list[actions.AnyAction]:
    return [action for action in given if not isinstance(action, UNNOTICED)]


def _bare(action: actions.AnyAction) -> actions.AnyAction:
    return msgspec.structs.replace(action, **{name: "" for name in IDS if hasattr(action, name)})


def _reworded(action: actions.AnyAction, like: actions.AnyAction) -> actions.AnyAction:
    """The action in the other's words."""
    return msgspec.structs.replace(action, **{name: getattr(like, name) for name in WORDING.get(type(action), ())})


def _pair(was: actions.AnyAction, is_: actions.AnyAction) -> tuple[str, str]:
    texts = _told([was]), _told([is_])
    if texts[0] != texts[1]:
        return texts
    fields = [name for name in was.__struct_fields__ if name not in IDS and getattr(was, name) != getattr(is_, name)]
    return _fields(was, fields), _fields(is_, fields)


def _fields(action: actions.AnyAction, names: Sequence[str]) -> str:
    shown = ", ".join(f"{name} {msgspec.json.encode(getattr(action, name)).decode()}" for name in names)
    return f"{_told([action])} ({shown})"


def _told(given: Sequence[actions.AnyAction]) -> str:
    """In words: what is heard and done; the rest by its kind."""
    return ", ".join(_words(action) for action in given) or "nothing"


def _words(action: actions.AnyAction) -> str:
    done = did(action)
    return " ".join(done).strip() if done else type(action).__name__.lower()
