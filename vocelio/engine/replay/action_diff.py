"""Differences between two lists of actions that the caller or other systems can perceive.

Ids, emitted events and timers are ignored.
"""

from collections.abc import Sequence

import msgspec

from vocelio.engine import actions
from vocelio.engine.call_log import equal_as_logged
from vocelio.engine.replay.transcript import describe_action

IMPERCEPTIBLE_ACTIONS = (
    actions.EmitEvent,
    actions.StartTimer,
    actions.CancelTimer,
    actions.StopListening,
    actions.StopRecording,
)
ID_FIELDS = ("id", "idempotency_key")  # a request's idempotency key contains the count of node visits
WORDING_FIELDS: dict[type, tuple[str, ...]] = {
    actions.Speak: ("text", "voice", "audio", "barge_in", "sensitive"),
    actions.Listen: ("phrases", "language", "silence_seconds", "sensitive"),
}
"""Fields that may change within the same conversation. A change of any other field ends the comparison."""


class ActionDiff(msgspec.Struct, frozen=True):
    """A recorded and a replayed action in words. ``ends_comparison``: what follows cannot be compared."""

    recorded: str
    replayed: str
    ends_comparison: bool


def diff_actions(recorded: Sequence[actions.AnyAction], replayed: Sequence[actions.AnyAction]) -> list[ActionDiff]:
    """List the differences in order; at most the last one ends the comparison."""
    recorded, replayed = _perceptible(recorded), _perceptible(replayed)
    if [type(action) for action in recorded] != [type(action) for action in replayed]:
        return [ActionDiff(_describe_all(recorded), _describe_all(replayed), ends_comparison=True)]
    diffs = list[ActionDiff]()
    for before, after in zip(recorded, replayed, strict=True):
        if equal_as_logged([_without_ids(before)], [_without_ids(after)]):
            continue
        wording_only = equal_as_logged([_without_ids(before)], [_without_ids(_with_wording_of(after, before))])
        diffs.append(ActionDiff(*_describe_pair(before, after), ends_comparison=not wording_only))
        if not wording_only:
            break
    return diffs


def _perceptible(all_actions: Sequence[actions.AnyAction]) -> list[actions.AnyAction]:
    return [action for action in all_actions if not isinstance(action, IMPERCEPTIBLE_ACTIONS)]


def _without_ids(action: actions.AnyAction) -> actions.AnyAction:
    return msgspec.structs.replace(action, **{name: "" for name in ID_FIELDS if hasattr(action, name)})


def _with_wording_of(action: actions.AnyAction, other: actions.AnyAction) -> actions.AnyAction:
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
    values = ", ".join(f"{name} {msgspec.json.encode(getattr(action, name)).decode()}" for name in names)
    return f"{_describe_all([action])} ({values})"


def _describe_all(all_actions: Sequence[actions.AnyAction]) -> str:
    return ", ".join(_describe(action) for action in all_actions) or "nothing"


def _describe(action: actions.AnyAction) -> str:
    description = describe_action(action)
    return " ".join(description).strip() if description else type(action).__name__.lower()
