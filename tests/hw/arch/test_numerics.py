"""The definition itself, against arithmetic written another way."""

import random

import pytest

from hw.arch import numerics


def signs(bits):
    return [2 * bit - 1 for bit in bits]


@pytest.mark.parametrize("length", [1, 2, 7, 32, 65])
@pytest.mark.parametrize("seed", [1, 2])
def test_dot_is_the_sum_of_products_of_signs(length, seed):
    rng = random.Random(seed)
    for _ in range(20):
        w, a, mask = ([rng.randint(0, 1) for _ in range(length)] for _ in range(3))
        products = [x * y for x, y in zip(signs(w), signs(a), strict=True)]
        assert numerics.dot(w, a) == sum(products)
        assert numerics.dot(w, a, mask) == sum(p for p, m in zip(products, mask, strict=True) if m)


def test_dot_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="dot must have operands of one length, not 2 and 3"):
        numerics.dot([0, 1], [0, 1, 1])


def test_combine_weights_every_pair_of_planes():
    assert numerics.combine([[1, 10], [100, -1000]], [[1, 2], [3, -4]]) == 1 + 20 + 300 + 4000


@pytest.mark.parametrize("pixel", range(256))
def test_image_planes_sum_to_the_pixel(pixel):
    planes = numerics.image_planes(pixel)
    assert sum(s << (7 - j) for j, s in enumerate(signs(planes))) == 2 * pixel - 255


@pytest.mark.parametrize("pixel", [-1, 256])
def test_pixels_out_of_range_are_refused(pixel):
    with pytest.raises(ValueError, match=f"pixel must be in 0..255, not {pixel}"):
        numerics.image_planes(pixel)


def test_level_counts_thresholds_reached_with_equality():
    assert [numerics.level(value, [-2, 3, 3, 9]) for value in (-3, -2, 2, 3, 8, 9, 10)] == [0, 1, 1, 3, 3, 4, 4]


def test_search_counts_even_thresholds():
    """Steps T, 4 D, 2 D, D: level l from T + (l - 8 / 2) D on, the ends open."""
    for middle, unit in ((0, 1), (-17, 3), (5, 0)):
        steps = [middle, 2 * unit, unit]
        thresholds = [middle + (n - 4) * unit for n in range(1, 8)]
        for value in range(-60, 60):
            bits = numerics.search(value, steps)
            assert numerics.pack(bits[::-1]) == numerics.level(value, thresholds)


@pytest.mark.parametrize("seed", [1, 2])
def test_search_is_monotone_whatever_the_steps(seed):
    rng = random.Random(seed)
    for _ in range(20):
        steps = [rng.randint(-50, 50), *(rng.randint(0, 40) for _ in range(rng.randint(0, 7)))]
        levels = [numerics.search(value, steps) for value in range(-300, 300)]
        assert levels == sorted(levels)
        assert levels[0] == [0] * len(steps) and levels[-1] == [1] * len(steps)


def test_encode_looks_the_level_up():
    assert numerics.encode(1, [[0, 0], [0, 1], [1, 1]]) == [0, 1]


def test_pool_takes_the_maximum_and_drops_incomplete_windows():
    values = [[-9, -8, -7], [-6, -5, -4], [-3, -2, -1]]
    assert numerics.pool(values, 2, 2) == [[-5]]
    assert numerics.pool(values, 2, 1) == [[-5, -4], [-2, -1]]


@pytest.mark.parametrize(("low", "corner"), [(False, 4), (True, 4 - 5)])
def test_padding_contributes_nothing_or_minus_one(low, corner):
    ones = [[[[1]]] * 2] * 2  # 2 x 2 map, one plane, one channel, all +1
    kernel = [[[[1]]] * 3] * 3
    result = numerics.convolve(ones, kernel, [[1]], stride=1, padding=1, low=low)
    assert result == [[corner] * 2] * 2


def test_low_padding_is_zero_padding_of_the_image():
    """sum_j 2^(7-j) S_j = 2 sum w x - 255 sum w at every position, the border included, with x = 0 outside."""
    rng = random.Random(5)
    image = [[rng.randrange(256) for _ in range(4)] for _ in range(3)]
    bits = [[rng.randint(0, 1) for _ in range(3)] for _ in range(3)]
    planes = [[[[bit] for bit in numerics.image_planes(pixel)] for pixel in row] for row in image]
    weights = [[[[bit]] for bit in row] for row in bits]
    coefficients = [[1 << (7 - j) for j in range(8)]]
    result = numerics.convolve(planes, weights, coefficients, stride=2, padding=1, low=True)
    assert (len(result), len(result[0])) == (2, 2)
    for y, row in enumerate(result):
        for x, value in enumerate(row):
            taps = [(2 * bits[i][j] - 1, 2 * y + i - 1, 2 * x + j - 1) for i in range(3) for j in range(3)]
            real = sum(w * image[r][c] for w, r, c in taps if 0 <= r < 3 and 0 <= c < 4)
            assert value == 2 * real - 255 * sum(w for w, _, _ in taps)


def test_padded_pool_leaves_positions_outside_out():
    values = [[-9, -8, -7], [-6, -5, -4], [-3, -2, -1]]
    assert numerics.pool(values, 3, 2, 1) == [[-5, -4], [-2, -1]]
    assert numerics.pool([[-9]], 3, 1, 2) == [[-9] * 3] * 3


@pytest.mark.parametrize("stride", [1, 2])
def test_average_is_a_convolution_of_sums(stride):
    rng = random.Random(stride)
    planes = [[[[rng.randrange(2)]] for _ in range(11)] for _ in range(10)]  # one plane, one channel
    weights = [[[[rng.randrange(2)]] for _ in range(2)] for _ in range(3)]
    sums = [[sum(2 * planes[2 * y + a][2 * x + b][0][0] - 1 for a in (0, 1) for b in (0, 1)) for x in range(5)]
            for y in range(5)]
    expected = [
        [7 * sum((2 * weights[i][j][0][0] - 1) * sums[y + i][x + j] for i in range(3) for j in range(2))
         for x in range(0, 4, stride)] for y in range(0, 3, stride)]
    got = numerics.convolve(planes, weights, [[7]], stride=stride, padding=0, low=False, average=2)
    assert got == expected


@pytest.mark.parametrize(("value", "shift", "rectify", "expected"), [
    (-1, 0, False, -1), (-1, 3, False, -1), (-1, 3, True, 0), (15, 3, True, 1), (40000, 0, False, 32767),
    (-40000, 0, False, -32768), (-(1 << 18), 3, False, -32768), ((1 << 18) + 7, 3, False, 32767),
])
def test_kept_values_are_rounded_down_and_saturated(value, shift, rectify, expected):
    assert numerics.keep(value, shift, rectify) == expected


def test_added_values_lie_on_their_grid():
    assert numerics.add(5, -7, -3, 4) == 5 - 7 - 48
