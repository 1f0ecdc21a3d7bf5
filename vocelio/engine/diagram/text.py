"""Text renderers of a diagram: Graphviz DOT, and a tree for the terminal.

The tree prints each node once; further arrows to it name the place where it is printed. A chain of single exits is not
indented. Branches deeper than MAX_DEPTH and unreachable nodes follow as trees of their own.
"""

from collections import deque

from vocelio.engine.diagram.model import GLOBAL_COMMANDS, Arrow, Box, Diagram

MAX_DEPTH = 12  # levels of branches: more do not fit a terminal's width


def render_dot(diagram: Diagram) -> str:
    """Render the diagram as a DOT ``digraph``."""
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
    color = ", fillcolor=palegreen" if box.is_start else ", fillcolor=lightgrey" if box.is_terminal else ""
    return f"label={_quote(label)}{color}"


def _quote(text: str) -> str:
    r"""Quote a DOT string. In labels ``\n`` is a line break and ``\\`` a backslash."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def render_tree(diagram: Diagram) -> str:
    """Render the diagram as a tree: several lines, without a line feed at the end."""
    return "\n".join([diagram.name, *_TreeRenderer(diagram).render_lines()])


class _TreeRenderer:
    """Depth-first walk that remembers the nodes already printed."""

    def __init__(self, diagram: Diagram) -> None:
        self._start = diagram.start
        self._boxes = {box.name: box for box in diagram.boxes}
        self._arrows: dict[str, list[Arrow]] = {}
        for arrow in diagram.arrows:
            self._arrows.setdefault(arrow.source, []).append(arrow)
        self._visited: set[str] = set()
        self._roots = deque([self._start])
        self._lines: list[str] = []

    def render_lines(self) -> list[str]:
        self._render_roots()
        for name in self._boxes:
            if name not in self._visited:
                self._lines += ["", "global commands:" if name == GLOBAL_COMMANDS else "unreachable:"]
                self._roots.append(name)
                self._render_roots()
        return self._lines

    def _render_roots(self) -> None:
        first = True
        while self._roots:
            name = self._roots.popleft()
            if name in self._visited:
                continue
            if not first:
                self._lines += ["", "continued:"]
            first = False
            self._render_branch(name, "", "", 0)

    def _render_branch(self, name: str, prefix: str, indent: str, depth: int) -> None:
        """Print the node after ``prefix``, then everything that follows it. ``depth`` bounds the recursion."""
        while True:
            self._visited.add(name)
            self._lines.append(f"{prefix}{_format_box(self._boxes[name])}")
            arrows, ending_exits = self._arrows.get(name, []), self._boxes[name].ending_exits
            if len(arrows) != 1 or ending_exits or arrows[0].target in self._visited:
                break
            label, name = arrows[0].label, arrows[0].target
            prefix = f"{indent}↓ {label}: " if label else f"{indent}↓ "
        for index, arrow in enumerate(arrows):
            is_last = index == len(arrows) - 1 and not ending_exits
            self._render_arrow(arrow, indent, is_last, depth)
        if ending_exits:
            self._lines.append(f"{indent}└─ {', '.join(ending_exits)}: the call ends")

    def _render_arrow(self, arrow: Arrow, indent: str, is_last: bool, depth: int) -> None:
        branch, deeper = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        exits = ", ".join(arrow.exits)
        if arrow.target in self._visited:
            self._lines.append(f"{indent}{branch}{exits} -> {arrow.target} (above)")
        elif depth >= MAX_DEPTH:
            self._lines.append(f"{indent}{branch}{exits} -> {arrow.target} (below)")
            self._roots.append(arrow.target)
        else:
            self._render_branch(arrow.target, f"{indent}{branch}{exits}: ", indent + deeper, depth + 1)


def _format_box(box: Box) -> str:
    return f"{box.name}  [{box.type}]  {box.text}".rstrip()
