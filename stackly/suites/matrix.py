"""The cells of a matrix: product of the axes, less `exclude`, plus `include`, as GitHub Actions does it. Pure."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

MAX_CELLS = 64

V = TypeVar("V")


def expand(
    axes: Mapping[str, Sequence[V]],
    include: Sequence[Mapping[str, V]] = (),
    exclude: Sequence[Mapping[str, V]] = (),
) -> list[dict[str, V]]:
    """In the order of the product, last axis fastest; included cells of their own come last.

    An `include` entry is added to every cell of the product whose original values it would not change; when there is
    none it is a cell of its own.
    """
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    kept = [cell for cell in product if not any(_matches(cell, rule) for rule in exclude)]
    cells = [dict(cell) for cell in kept]
    alone: list[dict[str, V]] = []
    for entry in include:
        fits = [i for i, original in enumerate(kept) if all(original.get(k, v) == v for k, v in entry.items())]
        for i in fits:
            cells[i].update(entry)
        if not fits:
            alone.append(dict(entry))
    return cells + alone


def product_size(axes: Mapping[str, Sequence[object]]) -> int:
    size = 1
    for values in axes.values():
        size *= len(values)
    return size if axes else 0


def _matches(cell: Mapping[str, V], rule: Mapping[str, V]) -> bool:
    return all(k in cell and cell[k] == v for k, v in rule.items())
