"""Where the boxes go: a layered drawing, in the manner of Sugiyama, Tagawa and Toda (1981).

Arrows that lead back are turned round, so that the rest has no circles; each box lies below all that lead to it
(longest path). Between two layers of boxes there is one for the arrows' labels, and an arrow over several layers has a
bend in each. Crossings are reduced by ordering every layer by the mean place of its neighbours; then each layer is
put as near as its order and its widths allow to the mean of its neighbours' positions, which is an isotonic
regression and solved exactly by pooling adjacent violators.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import msgspec

ORDERING_SWEEPS = 12
GAP_PX = 24.0  # between neighbours in a layer
BEND_WIDTH_PX = 12.0
BEND_ALIGNMENT_WEIGHT = 8.0  # times that a bend heeds a bend rather than a box
EXHAUSTED = -1
MAX_ITEMS = 20_000  # boxes and bends together: beyond, arrows go straight through

Item = int
"""A box or a bend."""


class Layout(msgspec.Struct, frozen=True):
    """Of every box its centre's x and its layer; of every arrow the same for its bends, in the arrow's direction."""

    boxes: tuple[tuple[float, int], ...]
    bends: tuple[tuple[tuple[float, int], ...], ...]
    layer_count: int


def compute_layout(widths: Sequence[float], arrows: Sequence[tuple[int, int]], label_widths: Sequence[float]) -> Layout:
    """Place boxes of these widths. ``arrows`` are pairs of boxes, ``labels`` their labels' widths."""
    forward = _break_cycles(len(widths), arrows)
    layer = [2 * rank for rank in _assign_ranks(len(widths), forward)]
    width = list(widths)
    chains = list[list[Item]]()
    straight = sum(abs(layer[a] - layer[b]) for a, b in forward) > MAX_ITEMS
    for (upper, lower), label in zip(forward, label_widths, strict=True):
        between = range(layer[upper] + 1, layer[upper] + 2 if straight else layer[lower])
        chain = list(range(len(width), len(width) + len(between) * (upper != lower)))
        layer += list(between)[: len(chain)]
        width += [max(label, BEND_WIDTH_PX) if place == 0 else BEND_WIDTH_PX for place in range(len(chain))]
        chains.append(chain)
    x = _assign_positions(layer, width, _find_neighbors(len(width), forward, chains), len(widths))
    bends = [
        tuple((x[bend], layer[bend]) for bend in (chain if made == given else reversed(chain)))
        for chain, made, given in zip(chains, forward, arrows, strict=True)
    ]
    return Layout(tuple((x[box], layer[box]) for box in range(len(widths))), tuple(bends), max(layer, default=0) + 1)


def _break_cycles(box_count: int, arrows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The arrows, those that lead back to where the walk came from turned round. The first box is where it begins."""
    after: dict[int, list[int]] = {}
    for index, (source, _) in enumerate(arrows):
        after.setdefault(source, []).append(index)
    back, state = set[int](), [0] * box_count  # 0 not seen, 1 on the way, 2 done
    for root in range(box_count):
        stack = [(root, iter(after.get(root, [])))] if not state[root] else []
        state[root] = state[root] or 1
        while stack:
            box, rest = stack[-1]
            index = next(rest, EXHAUSTED)
            if index == EXHAUSTED:
                state[box] = 2
                stack.pop()
            elif state[target := arrows[index][1]] == 1:
                back.add(index)
            elif not state[target]:
                state[target] = 1
                stack.append((target, iter(after.get(target, []))))
    return [(b, a) if index in back else (a, b) for index, (a, b) in enumerate(arrows)]


def _assign_ranks(box_count: int, forward: Iterable[tuple[int, int]]) -> list[int]:
    """The longest path to every box."""
    after: dict[int, list[int]] = {}
    waiting = [0] * box_count
    for upper, lower in forward:
        if upper != lower:
            after.setdefault(upper, []).append(lower)
            waiting[lower] += 1
    rank = [0] * box_count
    ready = [box for box in range(box_count) if not waiting[box]]
    while ready:
        box = ready.pop()
        for lower in after.get(box, []):
            rank[lower] = max(rank[lower], rank[box] + 1)
            waiting[lower] -= 1
            if not waiting[lower]:
                ready.append(lower)
    return rank


def _find_neighbors(
    item_count: int, forward: Iterable[tuple[int, int]], chains: Iterable[Sequence[Item]]
) -> tuple[list[list[Item]], list[list[Item]]]:
    """Of every item those above and those below that it is joined to."""
    above: list[list[Item]] = [[] for _ in range(item_count)]
    below: list[list[Item]] = [[] for _ in range(item_count)]
    for (upper, lower), chain in zip(forward, chains, strict=True):
        way = [upper, *chain, lower]
        for one, other in pairwise(way):
            if one != other:
                below[one].append(other)
                above[other].append(one)
    return above, below


def _assign_positions(
    layer: Sequence[int], width: Sequence[float], neighbors: tuple[list[list[Item]], list[list[Item]]], box_count: int
) -> list[float]:
    layers: list[list[Item]] = [[] for _ in range(max(layer, default=0) + 1)]
    for item, where in enumerate(layer):
        layers[where].append(item)
    _order_layers(layers, neighbors)
    x = [0.0] * len(layer)
    for row in layers:
        _place_row(row, width, dict.fromkeys(row, 0.0), x)
    for sweep in range(2 * ORDERING_SWEEPS):
        sides = neighbors if sweep >= ORDERING_SWEEPS else (neighbors[sweep % 2],)
        for row in layers if sweep % 2 == 0 else reversed(layers):
            wanted = {
                item: _preferred_position(item, [near for side in sides for near in side[item]], x, box_count)
                for item in row
            }
            _place_row(row, width, wanted, x)
    left = min((x[item] - width[item] / 2 for item in range(len(x))), default=0.0)
    return [place - left for place in x]


def _preferred_position(item: Item, neighbors: Sequence[Item], x: Sequence[float], box_count: int) -> float:
    """Where an item wants to be. The bends of one arrow want most of all to stand above one another."""
    weights = [BEND_ALIGNMENT_WEIGHT if item >= box_count and other >= box_count else 1.0 for other in neighbors]
    return fmean([x[other] for other in neighbors], weights) if neighbors else x[item]


def _order_layers(layers: list[list[Item]], neighbors: tuple[list[list[Item]], list[list[Item]]]) -> None:
    place = {item: float(index) for row in layers for index, item in enumerate(row)}
    for sweep in range(ORDERING_SWEEPS):
        joined = neighbors[sweep % 2]
        for row in layers if sweep % 2 == 0 else reversed(layers):
            mean = {item: fmean([place[n] for n in joined[item]]) if joined[item] else place[item] for item in row}
            row.sort(key=mean.__getitem__)
            place.update((item, float(index)) for index, item in enumerate(row))


def _place_row(
    row: Sequence[Item], widths: Sequence[float], preferred: Mapping[Item, float], positions: list[float]
) -> None:
    """Put a layer's items as near to where they want to be as their order and widths allow."""
    offsets, at = list[float](), 0.0
    for index, item in enumerate(row):
        if index:
            at += (widths[row[index - 1]] + widths[item]) / 2 + GAP_PX
        offsets.append(at)
    pools = list[tuple[float, int]]()  # mean, count
    for item, offset in zip(row, offsets, strict=True):
        pool = (preferred[item] - offset, 1)
        while pools and pools[-1][0] > pool[0]:
            mean, count = pools.pop()
            total = count + pool[1]
            pool = ((mean * count + pool[0] * pool[1]) / total, total)
        pools.append(pool)
    means = [mean for mean, count in pools for _ in range(count)]
    for item, mean, offset in zip(row, means, offsets, strict=True):
        positions[item] = mean + offset
