"""Restricted YAML reader that returns plain values and the line of each.

Only ``true`` and ``false`` are booleans and dates stay text, because ``says: yes`` means the word. The value of a key
in ``TEXT_KEYS`` is always text (``presses: 1``), except below a key in ``FREE_FORM_KEYS``. Size, depth and number of
values are bounded, so that aliases cannot expand a small file without limit.
"""

import re
from typing import Any

import yaml

from vocelio.engine.errors import EngineError

MAX_CHARACTERS = 300_000  # about a thousand scenarios; parsing takes some microseconds a character
MAX_VALUES = 50_000
MAX_DEPTH = 30
TEXT_KEYS = ("name", "hears", "says", "partial", "presses", "node", "value", "caller", "number", "seed", "at")
FREE_FORM_KEYS = ("variables", "body", "json")
WORD_VALUES: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}
TAG_PREFIX = "tag:yaml.org,2002:"
ALLOWED_TAGS = (
    "null",
    "bool",
    "int",
    "float",
    "timestamp",
    "value",
    "merge",
    "str",
    "seq",
    "map",
)  # those that YAML resolves implicitly
INTEGER_PATTERN = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
DECIMAL_PATTERN = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+\Z")

LineNumbers = dict[str, int]


class YamlError(EngineError):
    """The text is not YAML that this reader accepts; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


def load_yaml(text: str) -> tuple[Any, LineNumbers]:
    """Return the document, and the lines of its values by paths such as ``$.scenarios[0].name``. Raises YamlError."""
    if len(text) > MAX_CHARACTERS:
        raise YamlError(1, f"a scenario file has at most {MAX_CHARACTERS:,} characters, this one {len(text):,}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlError(1, f"not YAML: {str(error).splitlines()[0]}") from error
    if root is None:
        raise YamlError(1, "the file is empty")
    reader = _NodeReader()
    return reader.read_value(root, "$", 0), reader.line_numbers


class _NodeReader:
    """Converts YAML nodes to values and counts them."""

    def __init__(self) -> None:
        self.line_numbers: LineNumbers = {}
        self._value_count = 0

    def read_value(self, node: yaml.Node, path: str, depth: int, as_text: bool = False, free_form: bool = False) -> Any:
        line = node.start_mark.line + 1
        self.line_numbers.setdefault(path, line)
        self._value_count += 1
        if self._value_count > MAX_VALUES or depth > MAX_DEPTH:
            raise YamlError(line, f"more than {MAX_VALUES:,} values, or nested deeper than {MAX_DEPTH}")
        if node.tag.removeprefix(TAG_PREFIX) not in ALLOWED_TAGS:
            raise YamlError(line, f"tags are not allowed: {node.tag[:60]}")
        if isinstance(node, yaml.SequenceNode):
            return [
                self.read_value(item, f"{path}[{i}]", depth + 1, as_text, free_form)
                for i, item in enumerate(node.value)
            ]
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path, depth, free_form)
        return _read_scalar(node, as_text)

    def _read_mapping(self, node: yaml.MappingNode, path: str, depth: int, free_form: bool) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(line, "a key must be a scalar")
            key = str(key_node.value)
            if key in mapping:
                raise YamlError(line, f"duplicate key `{key[:40]}`")
            self.line_numbers[f"{path}.{key}"] = line
            is_free = free_form or key in FREE_FORM_KEYS
            mapping[key] = self.read_value(
                value_node, f"{path}.{key}", depth + 1, key in TEXT_KEYS and not is_free, is_free
            )
        return mapping


def _read_scalar(node: yaml.Node, as_text: bool) -> Any:
    text = str(node.value)
    if as_text or getattr(node, "style", None):
        return text
    if INTEGER_PATTERN.match(text):
        return int(text)
    return float(text) if DECIMAL_PATTERN.match(text) else WORD_VALUES.get(text, text)
