"""The picture as a tree for a terminal. A node is told once; further ways to it say where it stands.

A node with one way out needs no branch, so a long chain stays at the left. What would lie too deep, and what cannot
be reached, is told below as a tree of its own.
"""

from collections import deque

from vocelio.engine.diagram.model import GLOBAL_COMMANDS, Arrow, Box, Diagram

MAX_DEPTH = 12  # branches: more do not fit a terminal's line


def render_tree(diagram: Diagram) -> str:
    """Several lines, without a line feed at the end."""
    return "\n".join([diagram.name, *_TreeRenderer(diagram).render_lines()])


class _TreeRenderer:
    """Walks the picture, remembering what has been told."""

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
                self._lines += ["", "besides:" if name == GLOBAL_COMMANDS else "never reached:"]
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
                self._lines += ["", "from above:"]
            first = False
            self._render_branch(name, "", "", 0)

    def _render_branch(self, name: str, prefix: str, indent: str, depth: int) -> None:
        """The node and all that follows it, the first line behind ``lead``; ``depth`` bounds the recursion."""
        while True:
            self._visited.add(name)
            self._lines.append(f"{prefix}{_format_box(self._boxes[name])}")
            arrows, ends = self._arrows.get(name, []), self._boxes[name].ending_exits
            if len(arrows) != 1 or ends or arrows[0].target in self._visited:
                break
            label, name = arrows[0].label, arrows[0].target
            prefix = f"{indent}↓ {label}: " if label else f"{indent}↓ "
        for place, arrow in enumerate(arrows):
            last = place == len(arrows) - 1 and not ends
            self._render_arrow(arrow, indent, last, depth)
        if ends:
            self._lines.append(f"{indent}└─ {', '.join(ends)}: the call ends")

    def _render_arrow(self, arrow: Arrow, indent: str, is_last: bool, depth: int) -> None:
        twig, deeper = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        exits = ", ".join(arrow.exits)
        if arrow.target in self._visited:
            self._lines.append(f"{indent}{twig}{exits} -> {arrow.target} (above)")
        elif depth >= MAX_DEPTH:
            self._lines.append(f"{indent}{twig}{exits} -> {arrow.target} (below)")
            self._roots.append(arrow.target)
        else:
            self._render_branch(arrow.target, f"{indent}{twig}{exits}: ", indent + deeper, depth + 1)


def _format_box(box: Box) -> str:
    return f"{box.name}  [{box.type}]  {box.text}".rstrip()
