"""What can go wrong in the engine.

EngineError
├── DocumentError      a flow document that cannot be used; carries every problem found
├── EventError         an event that cannot be: time runs backwards
├── CheckpointError    a saved state that does not fit the flow's version
├── ReplayError        (replay) a call's log that cannot be read
├── ScenarioError      (scenario) a scenario file with mistakes; carries every one
├── YamlError          (scenario) a file that is not plain YAML
└── Restless           (scenario) a flow that never comes to wait for anybody
"""

from vocelio.engine.diagnostics import Diagnostic


class EngineError(Exception):
    """The root: nothing else leaves the engine."""


class DocumentError(EngineError):
    """The document has errors; ``problems`` lists all of them, warnings included."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(str(problem) for problem in diagnostics))


class EventError(EngineError):
    """The shell fed an event that cannot be."""


class CheckpointError(EngineError):
    """The state was saved by another flow or another release."""
