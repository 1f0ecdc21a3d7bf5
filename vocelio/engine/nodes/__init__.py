"""The node types, one file each. Every Node subclass defined in this package is a type of the flow document."""

from importlib import import_module
from pkgutil import iter_modules

from vocelio.engine.node import Node


def _load_node_types() -> dict[str, type[Node]]:
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return {kind.type: kind for kind in Node.__subclasses__()}


NODE_TYPES: dict[str, type[Node]] = _load_node_types()
