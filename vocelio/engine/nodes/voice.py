"""voice: change the flow's voice."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.voice import Language, Style, Tier, Voice


class ChangeVoice(Node, frozen=True, kw_only=True):
    """Changes the given fields of the voice. A change in a subflow ends with the subflow."""

    type: ClassVar[str] = "voice"

    tier: Tier | None = None
    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    language: Language | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] | None = None
    style: Style | None = None
    fallbacks: Annotated[tuple[Voice, ...], Meta(max_length=2)] | None = None

    def _changes(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in ("tier", "name", "language", "speed", "style", "fallbacks")}
        return {name: value for name, value in fields.items() if value is not None}

    def apply_to(self, voice: Voice) -> Voice:
        """Return the changed voice, without the fallbacks that no longer fit its tier or language."""
        changed = msgspec.structs.replace(voice, **self._changes())
        if self.fallbacks is not None:
            return changed
        fallbacks = [
            fallback
            for fallback in changed.fallbacks
            if fallback.tier != changed.tier and self.language in (None, fallback.language)
        ]
        return msgspec.structs.replace(changed, fallbacks=tuple(fallbacks))

    def on_enter(self, context: NodeContext) -> None:
        context.state.voice = self.apply_to(context.voice)
        context.take_exit("next")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not self._changes():
            yield Diagnostic(
                path, "no-change", "a voice node changes at least one field", "give a `name`, `speed`, ..."
            )
        if self.tier and not self.name:
            message = "each tier has its own voices: a change of `tier` needs a `name`"
            yield Diagnostic(f"{path}.name", "voice-name", message)
