"""The picture as a tree for a terminal. A node is told once; further ways to it say where it stands.

A node with one way out needs no branch, so a long chain stays at the left. What would lie too deep, and what cannot
be reached, is told below as a tree of its own.
"""

from collections import deque

from vocelio.engine.diagram.model import ANYWHERE, Arrow, Box, Picture

MAX_DEPTH = 12  # branches: more do not fit a terminal's line


def tree(picture: Picture) -> str:
    """Several lines, without a line feed at the end."""
    return "\n".join([picture.name, *_Tree(picture).lines()])


class _Tree:
    """Walks the picture, remembering what has been told."""

    def __init__(self, picture: Picture) -> None:
        self._start = picture.start
        self._boxes = {box.name: box for box in picture.boxes}
        self._arrows: dict[str, list[Arrow]] = {}
        for arrow in picture.arrows:
            self._arrows.setdefault(arrow.source, []).append(arrow)
        self._told: set[str] = set()
        self._roots = deque([self._start])
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        self._grow()
        for name in self._boxes:
            if name not in self._told:
                self._lines += ["", "besides:" if name == ANYWHERE else "never reached:"]
                self._roots.append(name)
                self._grow()
        return self._lines

    def _grow(self) -> None:
        first = True
        while self._roots:
            name = self._roots.popleft()
            if name in self._told:
                continue
            if not first:
                self._lines += ["", "from above:"]
            first = False
            self._branch(name, "", "", 0)

    def _branch(self, name: str, lead: str, indent: str, depth: int) -> None:
        """The node and all that follows it, the first line behind ``lead``; ``depth`` bounds the recursion."""
        while True:
            self._told.add(name)
            self._lines.append(f"{lead}{_words(self._boxes[name])}")
            arrows, ends = self._arrows.get(name, []), self._boxes[name].ends
            if len(arrows) != 1 or ends or arrows[0].target in self._told:
                break
            label, name = arrows[0].label, arrows[0].target
            lead = f"{indent}↓ {label}: " if label else f"{indent}↓ "
        for place, arrow in enumerate(arrows):
            last = place == len(arrows) - 1 and not ends
            self._follow(arrow, indent, last, depth)
        if ends:
            self._lines.append(f"{indent}└─ {', '.join(ends)}: the call ends")

    def _follow(self, arrow: Arrow, indent: str, last: bool, depth: int) -> None:
        twig, deeper = ("└─ ", "   ") if last else ("├─ ", "│  ")
        exits = ", ".join(arrow.exits)
        if arrow.target in self._told:
            self._lines.append(f"{indent}{twig}{exits} -> {arrow.target} (above)")
        elif depth >= MAX_DEPTH:
            self._lines.append(f"{indent}{twig}{exits} -> {arrow.target} (below)")
            self._roots.append(arrow.target)
        else:
            self._branch(arrow.target, f"{indent}{twig}{exits}: ", indent + deeper, depth + 1)


def _words(box: Box) -> str:
    return f"{box.name}  [{box.type}]  {box.text}".rstrip()
