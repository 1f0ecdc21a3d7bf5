"""Two lists of actions, as the caller and the world perceive them: ids, notes and timers left out."""

from collections.abc import Sequence

import msgspec

from vocelio.engine import actions
from vocelio.engine.call_log.exchange import equal_as_logged
from vocelio.engine.replay.transcript import describe_action

IMPERCEPTIBLE_ACTIONS = (
    actions.EmitEvent,
    actions.StartTimer,
    actions.CancelTimer,
    actions.StopListening,
    actions.StopRecording,
)
ID_FIELDS = ("id", "idempotency_key")  # a request's key is made of the visit
WORDING_FIELDS: dict[type, tuple[str, ...]] = {
    actions.Speak: ("text", "voice", "audio", "barge_in", "sensitive"),
    actions.Listen: ("phrases", "language", "silence_seconds", "sensitive"),
}
"""What may change without making another conversation; any other field may not."""


class ActionDiff(msgspec.Struct, frozen=True):
    """What was, what would be, and whether the call can be followed no further."""

    recorded: str
    replayed: str
    ends_comparison: bool


def diff_actions(recorded: Sequence[actions.AnyAction], replayed: Sequence[actions.AnyAction]) -> list[ActionDiff]:
    """The differences, in order; at most the last one stops."""
    then, now = _perceptible(recorded), _perceptible(replayed)
    if [type(action) for action in then] != [type(action) for action in now]:
        return [ActionDiff(_describe_all(then), _describe_all(now), ends_comparison=True)]
    found = list[ActionDiff]()
    for was, is_ in zip(then, now, strict=True):
        if equal_as_logged([_without_ids(was)], [_without_ids(is_)]):
            continue
        soft = equal_as_logged([_without_ids(was)], [_without_ids(_with_wording_of(is_, was))])
        found.append(ActionDiff(*_describe_pair(was, is_), ends_comparison=not soft))
        if not soft:
            break
    return found


def _perceptible(given: Sequence[actions.AnyAction]) -> list[actions.AnyAction]:
    return [action for action in given if not isinstance(action, IMPERCEPTIBLE_ACTIONS)]


def _without_ids(action: actions.AnyAction) -> actions.AnyAction:
    return msgspec.structs.replace(action, **{name: "" for name in ID_FIELDS if hasattr(action, name)})


def _with_wording_of(action: actions.AnyAction, other: actions.AnyAction) -> actions.AnyAction:
    """The action in the other's words."""
    return msgspec.structs.replace(
        action, **{name: getattr(other, name) for name in WORDING_FIELDS.get(type(action), ())}
    )


def _describe_pair(recorded: actions.AnyAction, replayed: actions.AnyAction) -> tuple[str, str]:
    texts = _describe_all([recorded]), _describe_all([replayed])
    if texts[0] != texts[1]:
        return texts
    fields = [
        name
        for name in recorded.__struct_fields__
        if name not in ID_FIELDS and getattr(recorded, name) != getattr(replayed, name)
    ]
    return _describe_fields(recorded, fields), _describe_fields(replayed, fields)


def _describe_fields(action: actions.AnyAction, names: Sequence[str]) -> str:
    shown = ", ".join(f"{name} {msgspec.json.encode(getattr(action, name)).decode()}" for name in names)
    return f"{_describe_all([action])} ({shown})"


def _describe_all(given: Sequence[actions.AnyAction]) -> str:
    """In words: what is heard and done; the rest by its kind."""
    return ", ".join(_describe(action) for action in given) or "nothing"


def _describe(action: actions.AnyAction) -> str:
    done = describe_action(action)
    return " ".join(done).strip() if done else type(action).__name__.lower()
