"""SVG renderer without external programs. Sizes are in pixels; text widths are estimates."""

from collections.abc import Iterable
from html import escape

from vocelio.engine.diagram.layout import Layout, compute_layout
from vocelio.engine.diagram.model import Arrow, Box, Diagram, truncate_at_word

BOX_HEIGHT_PX = 58.0
MIN_BOX_WIDTH_PX, MAX_BOX_WIDTH_PX = 120.0, 300.0
CHARACTER_WIDTH_PX = 6.3  # average of 11 px sans-serif
LABEL_LAYER_HEIGHT_PX = 42.0
MARGIN_PX = 20.0
PORT_SPREAD_RATIO = 0.7  # share of a box's width over which its arrows are spread
MAX_ARROW_LABEL_CHARACTERS = 40

SVG_HEADER = """<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}"
 font-family="Helvetica, Arial, sans-serif" font-size="11">
<title>{title}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>
<rect width="100%" height="100%" fill="white"/>
"""
FILL_COLORS = {"start": "#d9f2e0", "last": "#e8e8ec", "": "#f6f8ff"}

Point = tuple[float, float]


def render_svg(diagram: Diagram) -> str:
    """Render the diagram as an SVG document."""
    boxes = {box.name: index for index, box in enumerate(_boxes_start_first(diagram))}
    arrows = [(boxes[arrow.source], boxes[arrow.target]) for arrow in diagram.arrows]
    widths = [_box_width(box) for box in _boxes_start_first(diagram)]
    layout = compute_layout(widths, arrows, [len(_arrow_label(arrow)) * CHARACTER_WIDTH_PX for arrow in diagram.arrows])
    parts = [
        _render_arrow(arrow, path)
        for arrow, path in zip(diagram.arrows, _arrow_paths(layout, arrows, widths), strict=True)
    ]
    parts += [
        _render_box(box, layout.boxes[boxes[box.name]], widths[boxes[box.name]]) for box in _boxes_start_first(diagram)
    ]
    right = max((x + widths[i] / 2 for i, (x, _) in enumerate(layout.boxes)), default=0.0)
    right = max([right, *(x + MAX_ARROW_LABEL_CHARACTERS for bends in layout.bends for x, _ in bends)])
    header = SVG_HEADER.format(
        w=right + 2 * MARGIN_PX,
        h=_layer_top(layout.layer_count - 1) + BOX_HEIGHT_PX + MARGIN_PX,
        title=escape(diagram.name),
    )
    return header + "\n".join(parts) + "\n</svg>\n"


def _boxes_start_first(diagram: Diagram) -> list[Box]:
    """The layout starts at the first box."""
    return sorted(diagram.boxes, key=lambda box: not box.is_start)


def _box_width(box: Box) -> float:
    longest = max(len(line) for line in (f"{box.name} {box.type}  ", box.text, _ends_label(box)))
    return min(MAX_BOX_WIDTH_PX, max(MIN_BOX_WIDTH_PX, longest * CHARACTER_WIDTH_PX + 16))


def _ends_label(box: Box) -> str:
    return truncate_at_word(f"ends: {', '.join(box.ending_exits)}") if box.ending_exits else ""


def _arrow_label(arrow: Arrow) -> str:
    return truncate_at_word(arrow.label, MAX_ARROW_LABEL_CHARACTERS)


def _layer_top(layer: int) -> float:
    """Return the upper edge of a layer. Even layers contain boxes, odd ones labels."""
    return MARGIN_PX + (layer + 1) // 2 * BOX_HEIGHT_PX + layer // 2 * LABEL_LAYER_HEIGHT_PX


def _arrow_paths(layout: Layout, arrows: list[tuple[int, int]], widths: list[float]) -> list[list[Point]]:
    """Compute the points of each arrow, from box to box."""
    paths = list[list[Point]]()
    ports = _arrow_ports(layout, arrows, widths)
    for index, (source, target) in enumerate(arrows):
        down = layout.boxes[source][1] <= layout.boxes[target][1]
        bends = [point for x, layer in layout.bends[index] for point in _bend_points(x + MARGIN_PX, layer, down)]
        first = (ports[index, source], _layer_top(layout.boxes[source][1]) + (BOX_HEIGHT_PX if down else 0))
        last = (ports[index, target], _layer_top(layout.boxes[target][1]) + (0 if down else BOX_HEIGHT_PX))
        paths.append(
            [first, *bends, last] if source != target else _self_loop_points(layout.boxes[source], widths[source])
        )
    return paths


def _bend_points(x: float, layer: int, down: bool) -> list[Point]:
    """An arrow is vertical in a layer of boxes and changes its x in a layer of labels."""
    top = _layer_top(layer)
    if layer % 2:
        return [(x, top + LABEL_LAYER_HEIGHT_PX / 2)]
    return [(x, top), (x, top + BOX_HEIGHT_PX)] if down else [(x, top + BOX_HEIGHT_PX), (x, top)]


def _self_loop_points(box: tuple[float, int], width: float) -> list[Point]:
    right, top = box[0] + MARGIN_PX + width / 2, _layer_top(box[1])
    return [(right, top + 14), (right + 22, top + BOX_HEIGHT_PX / 2), (right, top + BOX_HEIGHT_PX - 14)]


def _arrow_ports(layout: Layout, arrows: list[tuple[int, int]], widths: list[float]) -> dict[tuple[int, int], float]:
    """Compute where each arrow touches its boxes: side by side, in the order of the other ends."""
    sides: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    for index, (source, target) in enumerate(arrows):
        bends = layout.bends[index] or (layout.boxes[target],)
        down = layout.boxes[source][1] <= layout.boxes[target][1]
        sides.setdefault((source, down), []).append((bends[0][0], index))
        sides.setdefault((target, not down), []).append((bends[-1][0], index))
    ports: dict[tuple[int, int], float] = {}
    for (box, _), arrow_ends in sides.items():
        spread = widths[box] * PORT_SPREAD_RATIO
        for position, (_, index) in enumerate(sorted(arrow_ends)):
            ports[index, box] = (
                layout.boxes[box][0] + MARGIN_PX + spread * ((position + 1) / (len(arrow_ends) + 1) - 0.5)
            )
    return ports


def _render_arrow(arrow: Arrow, points: list[Point]) -> str:
    is_upward = points[0][1] > points[-1][1]
    color = "#b98" if is_upward else "#889"
    path = f'<path d="{_path_data(points)}" fill="none" stroke="{color}" marker-end="url(#head)"/>'
    if not arrow.label:
        return path
    x, y = points[-2] if is_upward else points[1]
    label = f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" fill="#334" stroke="white" stroke-width="4"'
    return f'{path}\n{label} paint-order="stroke">{escape(_arrow_label(arrow))}</text>'


def _path_data(points: Iterable[Point]) -> str:
    (x, y), *rest = points
    parts = [f"M{x:.1f},{y:.1f}"]
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        parts.append(f"C{x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}")
        x, y = to_x, to_y
    return " ".join(parts)


def _render_box(box: Box, position: tuple[float, int], width: float) -> str:
    left, top = position[0] + MARGIN_PX - width / 2, _layer_top(position[1])
    fill = FILL_COLORS["start" if box.is_start else "last" if box.is_terminal else ""]
    edge = f'stroke="#447" stroke-width="{2 if box.is_start else 1}"'
    middle = left + width / 2
    return "\n".join(
        [
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{BOX_HEIGHT_PX}"'
            f' rx="8" fill="{fill}" {edge}/>',
            f'<text x="{middle:.1f}" y="{top + 18:.1f}" text-anchor="middle"><tspan font-weight="bold">'
            f'{escape(box.name)}</tspan> <tspan fill="#567">{escape(box.type)}</tspan></text>',
            f'<text x="{middle:.1f}" y="{top + 34:.1f}" text-anchor="middle" fill="#333">{escape(box.text)}</text>',
            f'<text x="{middle:.1f}" y="{top + 50:.1f}" text-anchor="middle" fill="#966">'
            f"{escape(_ends_label(box))}</text>",
        ]
    )
