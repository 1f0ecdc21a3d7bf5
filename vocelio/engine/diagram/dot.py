"""The picture as Graphviz DOT, for those who have Graphviz: it draws better than picture_svg."""

from vocelio.engine.diagram.model import Box, Diagram


def render_dot(diagram: Diagram) -> str:
    """The text of a ``digraph``."""
    lines = [
        f"digraph {_quote(diagram.name)} {{",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=10];',
        *(f"  {_quote(box.name)} [{_box_attributes(box)}];" for box in diagram.boxes),
        *(
            f"  {_quote(arrow.source)} -> {_quote(arrow.target)} [label={_quote(arrow.label)}];"
            for arrow in diagram.arrows
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _box_attributes(box: Box) -> str:
    ends = f"ends: {', '.join(box.ending_exits)}" if box.ending_exits else ""
    label = "\n".join(line for line in (f"{box.name} · {box.type}", box.text, ends) if line)
    look = ", fillcolor=palegreen" if box.is_start else ", fillcolor=lightgrey" if box.is_terminal else ""
    return f"label={_quote(label)}{look}"


def _quote(text: str) -> str:
    r"""DOT's quoted string, in whose labels ``\n`` is a line break and ``\\`` a backslash."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
