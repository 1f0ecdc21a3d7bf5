"""The engine's exceptions.

EngineError
├── DocumentError      a flow document with errors; carries all diagnostics
├── EventError         an impossible event: time runs backwards
├── CheckpointError    a checkpoint that does not match the flow's version
├── CallLogError       (call_log) a call log that cannot be read
├── ScenarioError      (scenario) a scenario file with errors; carries all diagnostics
├── YamlError          (scenario) a file that is not plain YAML
└── RunawayFlow        (scenario) a flow that never waits for the caller
"""

from vocelio.engine.diagnostics import Diagnostic


class EngineError(Exception):
    """Base of all exceptions that the engine raises."""


class DocumentError(EngineError):
    """The document has errors; ``diagnostics`` has all errors and warnings."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))


class EventError(EngineError):
    """The host sent an impossible event."""


class CheckpointError(EngineError):
    """The checkpoint was saved by another flow version or another release."""
