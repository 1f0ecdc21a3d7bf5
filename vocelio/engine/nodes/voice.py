"""voice: speak in another voice from here on."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from vocelio.engine.diagnostics import Diagnostic
from vocelio.engine.node import Node
from vocelio.engine.runtime.node_context import NodeContext
from vocelio.engine.voice import Language, Style, Tier, Voice


class ChangeVoice(Node, frozen=True, kw_only=True):
    """What is left out stays as it is. In a called flow the change ends with it."""

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
        """The voice that another becomes here. It loses fallbacks that do not go with it any more."""
        made = msgspec.structs.replace(voice, **self._changes())
        if self.fallbacks is not None:
            return made
        left = [one for one in made.fallbacks if one.tier != made.tier and self.language in (None, one.language)]
        return msgspec.structs.replace(made, fallbacks=tuple(left))

    def on_enter(self, context: NodeContext) -> None:
        context.state.voice = self.apply_to(context.voice)
        context.take_exit("next")

    def diagnostics(self, path: str) -> Iterable[Diagnostic]:
        if not self._changes():
            yield Diagnostic(path, "no-change", "a voice node names what it changes", "give a `name`, `speed`, ...")
        if self.tier and not self.name:
            message = "each tier has its own voices: a change of `tier` needs a `name`"
            yield Diagnostic(f"{path}.name", "voice-name", message)
