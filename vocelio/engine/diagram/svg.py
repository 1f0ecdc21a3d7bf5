"""The picture as SVG, without any program's help. Sizes are in pixels; widths of text are estimates."""

from collections.abc import Iterable
from html import escape

from vocelio.engine.diagram.layout import Layout, layout
from vocelio.engine.diagram.model import Arrow, Box, Picture, shortened

BOX_HEIGHT = 58.0
MIN_WIDTH, MAX_WIDTH = 120.0, 300.0
LETTER = 6.3  # of 11 px sans-serif, on the average
SPACE = 42.0  # a layer of labels
MARGIN = 20.0
PORTS = 0.7  # of a box's width, over which its arrows are spread
MAX_LABEL = 40

HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}"
 font-family="Helvetica, Arial, sans-serif" font-size="11">
<title>{title}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>
<rect width="100%" height="100%" fill="white"/>
"""
FILLS = {"start": "#d9f2e0", "last": "#e8e8ec", "": "#f6f8ff"}

Point = tuple[float, float]


def svg(picture: Picture) -> str:
    """A whole SVG document."""
    boxes = {box.name: index for index, box in enumerate(_start_first(picture))}
    arrows = [(boxes[arrow.source], boxes[arrow.target]) for arrow in picture.arrows]
    widths = [_width(box) for box in _start_first(picture)]
    placed = layout(widths, arrows, [len(_label(arrow)) * LETTER for arrow in picture.arrows])
    parts = [_arrow(arrow, way) for arrow, way in zip(picture.arrows, _ways(placed, arrows, widths), strict=True)]
    parts += [_box(box, placed.boxes[boxes[box.name]], widths[boxes[box.name]]) for box in _start_first(picture)]
    right = max((x + widths[i] / 2 for i, (x, _) in enumerate(placed.boxes)), default=0.0)
    right = max([right, *(x + MAX_LABEL for bends in placed.bends for x, _ in bends)])
    head = HEAD.format(
        w=right + 2 * MARGIN, h=_top(placed.layers - 1) + BOX_HEIGHT + MARGIN, title=escape(picture.name)
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def _start_first(picture: Picture) -> list[Box]:
    """The layout begins its walk at the first box."""
    return sorted(picture.boxes, key=lambda box: not box.start)


def _width(box: Box) -> float:
    longest = max(len(line) for line in (f"{box.name} {box.type}  ", box.text, _ends(box)))
    return min(MAX_WIDTH, max(MIN_WIDTH, longest * LETTER + 16))


def _ends(box: Box) -> str:
    return shortened(f"ends: {', '.join(box.ends)}") if box.ends else ""


def _label(arrow: Arrow) -> str:
    return shortened(arrow.label, MAX_LABEL)


def _top(layer: int) -> float:
    """The upper edge of a layer: boxes in even ones, labels in odd ones."""
    return MARGIN + (layer + 1) // 2 * BOX_HEIGHT + layer // 2 * SPACE


def _ways(placed: Layout, arrows: list[tuple[int, int]], widths: list[float]) -> list[list[Point]]:
    """The points of every arrow, from box to box."""
    ways = list[list[Point]]()
    ends = _ports(placed, arrows, widths)
    for index, (source, target) in enumerate(arrows):
        down = placed.boxes[source][1] <= placed.boxes[target][1]
        bends = [point for x, layer in placed.bends[index] for point in _bend(x + MARGIN, layer, down)]
        first = (ends[index, source], _top(placed.boxes[source][1]) + (BOX_HEIGHT if down else 0))
        last = (ends[index, target], _top(placed.boxes[target][1]) + (0 if down else BOX_HEIGHT))
        ways.append([first, *bends, last] if source != target else _loop(placed.boxes[source], widths[source]))
    return ways


def _bend(x: float, layer: int, down: bool) -> list[Point]:
    """Beside boxes an arrow goes straight; through a layer of labels it finds its way."""
    top = _top(layer)
    if layer % 2:
        return [(x, top + SPACE / 2)]
    return [(x, top), (x, top + BOX_HEIGHT)] if down else [(x, top + BOX_HEIGHT), (x, top)]


def _loop(box: tuple[float, int], width: float) -> list[Point]:
    right, top = box[0] + MARGIN + width / 2, _top(box[1])
    return [(right, top + 14), (right + 22, top + BOX_HEIGHT / 2), (right, top + BOX_HEIGHT - 14)]


def _ports(placed: Layout, arrows: list[tuple[int, int]], widths: list[float]) -> dict[tuple[int, int], float]:
    """Where on its box each arrow begins and ends: side by side, in the order of where they go to."""
    sides: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for index, (source, target) in enumerate(arrows):
        bends = placed.bends[index] or (placed.boxes[target],)
        down = placed.boxes[source][1] <= placed.boxes[target][1]
        sides.setdefault((source, down), []).append((bends[0][0], index))
        sides.setdefault((target, not down), []).append((bends[-1][0], index))
    ports: dict[tuple[int, int], float] = {}
    for (box, _), joined in sides.items():
        room = widths[box] * PORTS
        for place, (_, index) in enumerate(sorted(joined)):
            ports[index, box] = placed.boxes[box][0] + MARGIN + room * ((place + 1) / (len(joined) + 1) - 0.5)
    return ports


def _arrow(arrow: Arrow, way: list[Point]) -> str:
    back = way[0][1] > way[-1][1]
    path = f'<path d="{_curve(way)}" fill="none" stroke="{"#b98" if back else "#889"}" marker-end="url(#head)"/>'
    if not arrow.label:
        return path
    x, y = way[-2] if back else way[1]
    label = f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" fill="#334" stroke="white" stroke-width="4"'
    return f'{path}\n{label} paint-order="stroke">{escape(_label(arrow))}</text>'


def _curve(way: Iterable[Point]) -> str:
    (x, y), *rest = way
    parts = [f"M{x:.1f},{y:.1f}"]
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        parts.append(f"C{x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}")
        x, y = to_x, to_y
    return " ".join(parts)


def _box(box: Box, where: tuple[float, int], width: float) -> str:
    left, top = where[0] + MARGIN - width / 2, _top(where[1])
    fill = FILLS["start" if box.start else "last" if box.last else ""]
    edge = f'stroke="#447" stroke-width="{2 if box.start else 1}"'
    middle = left + width / 2
    return "\n".join(
        [
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{BOX_HEIGHT}"'
            f' rx="8" fill="{fill}" {edge}/>',
            f'<text x="{middle:.1f}" y="{top + 18:.1f}" text-anchor="middle"><tspan font-weight="bold">'
            f'{escape(box.name)}</tspan> <tspan fill="#567">{escape(box.type)}</tspan></text>',
            f'<text x="{middle:.1f}" y="{top + 34:.1f}" text-anchor="middle" fill="#333">{escape(box.text)}</text>',
            f'<text x="{middle:.1f}" y="{top + 50:.1f}" text-anchor="middle" fill="#966">{escape(_ends(box))}</text>',
        ]
    )
