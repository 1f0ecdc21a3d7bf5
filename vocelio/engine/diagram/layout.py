"""Layered graph layout after Sugiyama, Tagawa and Toda (1981).

1. Break cycles by reversing the arrows that lead back.
2. Rank boxes by their longest path. Between two ranks there is a layer for the arrows' labels; an arrow across several
   layers has a bend in each.
3. Reduce crossings by ordering each layer by the mean position of its neighbors.
4. Place each layer as close to the mean of its neighbors' positions as its order and widths allow: an isotonic
   regression, solved exactly by pooling adjacent violators.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import msgspec

ORDERING_SWEEPS = 12
GAP_PX = 24.0  # between neighbors in a layer
BEND_WIDTH_PX = 12.0
BEND_ALIGNMENT_WEIGHT = 8.0  # weight of a neighboring bend relative to a box: keeps long arrows straight
EXHAUSTED = -1
MAX_ITEMS = 20_000  # boxes and bends; with more, arrows have a single bend and may cross boxes

Item = int
"""A box or a bend."""


class Layout(msgspec.Struct, frozen=True):
    """The center x and layer of each box, and of each arrow's bends in the direction of the arrow."""

    boxes: tuple[tuple[float, int], ...]
    bends: tuple[tuple[tuple[float, int], ...], ...]
    layer_count: int


def compute_layout(widths: Sequence[float], arrows: Sequence[tuple[int, int]], label_widths: Sequence[float]) -> Layout:
    """Place boxes of these widths. ``arrows`` are pairs of box indexes, ``label_widths`` the widths of their labels."""
    forward = _break_cycles(len(widths), arrows)
    layer = [2 * rank for rank in _assign_ranks(len(widths), forward)]
    width = list(widths)
    chains = list[list[Item]]()
    straight = sum(abs(layer[a] - layer[b]) for a, b in forward) > MAX_ITEMS
    for (upper, lower), label in zip(forward, label_widths, strict=True):
        layers_between = range(layer[upper] + 1, layer[upper] + 2 if straight else layer[lower])
        chain = list(range(len(width), len(width) + len(layers_between) * (upper != lower)))
        layer += list(layers_between)[: len(chain)]
        width += [max(label, BEND_WIDTH_PX) if index == 0 else BEND_WIDTH_PX for index in range(len(chain))]
        chains.append(chain)
    x = _assign_positions(layer, width, _find_neighbors(len(width), forward, chains), len(widths))
    bends = [
        tuple((x[bend], layer[bend]) for bend in (chain if directed == given else reversed(chain)))
        for chain, directed, given in zip(chains, forward, arrows, strict=True)
    ]
    return Layout(tuple((x[box], layer[box]) for box in range(len(widths))), tuple(bends), max(layer, default=0) + 1)


def _break_cycles(box_count: int, arrows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Reverse the arrows that close a cycle in a depth-first walk from the first box."""
    after: dict[int, list[int]] = {}
    for index, (source, _) in enumerate(arrows):
        after.setdefault(source, []).append(index)
    back, state = set[int](), [0] * box_count  # 0 not seen, 1 on the stack, 2 done
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
    """Compute the length of the longest path to each box."""
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
    """Return the neighbors of each item in the layer above and in the layer below."""
    above: list[list[Item]] = [[] for _ in range(item_count)]
    below: list[list[Item]] = [[] for _ in range(item_count)]
    for (upper, lower), chain in zip(forward, chains, strict=True):
        for source, target in pairwise([upper, *chain, lower]):
            if source != target:
                below[source].append(target)
                above[target].append(source)
    return above, below


def _assign_positions(
    layer: Sequence[int], width: Sequence[float], neighbors: tuple[list[list[Item]], list[list[Item]]], box_count: int
) -> list[float]:
    layers: list[list[Item]] = [[] for _ in range(max(layer, default=0) + 1)]
    for item, item_layer in enumerate(layer):
        layers[item_layer].append(item)
    _order_layers(layers, neighbors)
    x = [0.0] * len(layer)
    for row in layers:
        _place_row(row, width, dict.fromkeys(row, 0.0), x)
    for sweep in range(2 * ORDERING_SWEEPS):
        sides = neighbors if sweep >= ORDERING_SWEEPS else (neighbors[sweep % 2],)
        for row in layers if sweep % 2 == 0 else reversed(layers):
            preferred = {
                item: _preferred_position(item, [neighbor for side in sides for neighbor in side[item]], x, box_count)
                for item in row
            }
            _place_row(row, width, preferred, x)
    left = min((x[item] - width[item] / 2 for item in range(len(x))), default=0.0)
    return [position - left for position in x]


def _preferred_position(item: Item, neighbors: Sequence[Item], x: Sequence[float], box_count: int) -> float:
    """Weighted mean of the neighbors' positions. Bends of the same arrow weigh most, which keeps it straight."""
    weights = [BEND_ALIGNMENT_WEIGHT if item >= box_count and neighbor >= box_count else 1.0 for neighbor in neighbors]
    return fmean([x[neighbor] for neighbor in neighbors], weights) if neighbors else x[item]


def _order_layers(layers: list[list[Item]], neighbors: tuple[list[list[Item]], list[list[Item]]]) -> None:
    position = {item: float(index) for row in layers for index, item in enumerate(row)}
    for sweep in range(ORDERING_SWEEPS):
        adjacent = neighbors[sweep % 2]
        for row in layers if sweep % 2 == 0 else reversed(layers):
            mean = {
                item: fmean([position[n] for n in adjacent[item]]) if adjacent[item] else position[item] for item in row
            }
            row.sort(key=mean.__getitem__)
            position.update((item, float(index)) for index, item in enumerate(row))


def _place_row(
    row: Sequence[Item], widths: Sequence[float], preferred: Mapping[Item, float], positions: list[float]
) -> None:
    """Place the items of a layer as close to their preferred positions as their order and widths allow."""
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
