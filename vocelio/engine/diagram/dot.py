"""The picture as Graphviz DOT, for those who have Graphviz: it draws better than picture_svg."""

from vocelio.engine.diagram.model import Box, Picture


def dot(picture: Picture) -> str:
    """The text of a ``digraph``."""
    lines = [
        f"digraph {_quoted(picture.name)} {{",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=10];',
        *(f"  {_quoted(box.name)} [{_attributes(box)}];" for box in picture.boxes),
        *(
            f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)} [label={_quoted(arrow.label)}];"
            for arrow in picture.arrows
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _attributes(box: Box) -> str:
    ends = f"ends: {', '.join(box.ends)}" if box.ends else ""
    label = "\n".join(line for line in (f"{box.name} · {box.type}", box.text, ends) if line)
    look = ", fillcolor=palegreen" if box.start else ", fillcolor=lightgrey" if box.last else ""
    return f"label={_quoted(label)}{look}"


def _quoted(text: str) -> str:
    r"""DOT's quoted string, in whose labels ``\n`` is a line break and ``\\`` a backslash."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
