"""Look-up tables of 7-series netlists as the part has them."""

import pytest

from hw.build.lut6 import Cell, luts

CARRY = Cell("CARRY4", frozenset({90, 91, 92, 93}), frozenset())


def table(inputs, output):
    return Cell(f"LUT{len(inputs)}", frozenset(inputs), frozenset({output}))


@pytest.mark.parametrize(("cells", "count"), [
    ([table({1, 2, 3}, 10), table({3, 4, 5}, 11)], 1),  # five inputs together
    ([table({1, 2, 3}, 10), table({3, 4, 5, 6}, 11)], 2),  # six
    ([table({1, 2, 3}, 10), table({4, 5}, 11)], 2),  # nothing in common: no partners
    ([table({1, 2}, 90), table({1, 2}, 10)], 2),  # a carry chain takes both outputs
    ([table({1, 2}, 10), table({1, 2}, 11), table({1, 2}, 12)], 2),
    ([Cell(kind, frozenset(), frozenset()) for kind in ("SRL16E", "RAM64M", "FDRE")], 5),
])
def test_luts(cells, count):
    assert luts([CARRY, *cells]) == count
