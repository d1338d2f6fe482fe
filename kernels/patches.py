"""Patches of an image on their way into fast convolution, and results on their way out, LANES channels at a time.

`toom_cook.py` has the transforms of one row; here they are applied along both axes. A patch that reaches beyond its
image is first copied into scratch with zeros around it, so that the transforms have one form. Its pixels lie apart in
memory, so those of the next tile are fetched while one is transformed: the gradient of the weights of 64-128 channels
then takes 0.8 of the time.
"""

from __future__ import annotations

from kernels.simd import LANES, prefetch, vector_load, vector_store, vector_zero
from kernels.toom_cook import DATA, FOUR_RESULTS, OF_DATA, OF_FOUR, RESULTS, compiled, four_results, of_data, of_four

PATCH = DATA * DATA * LANES  # floats of scratch that each function here asks for
# Operations for one channel of a patch: rows and columns, each transformed.
DATA_IN, GRADIENT_IN, RESULTS_OUT = 2 * DATA * OF_DATA, (RESULTS + DATA) * OF_FOUR, (DATA + RESULTS) * FOUR_RESULTS


@compiled
def six(x, at, step):
    """The vectors at x[at + i step]."""
    return (
        vector_load(x, at, LANES), vector_load(x, at + step, LANES),
        vector_load(x, at + 2 * step, LANES), vector_load(x, at + 3 * step, LANES),
        vector_load(x, at + 4 * step, LANES), vector_load(x, at + 5 * step, LANES),
    )  # fmt: skip


@compiled
def put_six(values, y, at, step):
    """y[at + i step] = value i."""
    a, b, c, d, e, f = values
    vector_store(a, y, at, LANES)
    vector_store(b, y, at + step, LANES)
    vector_store(c, y, at + 2 * step, LANES)
    vector_store(d, y, at + 3 * step, LANES)
    vector_store(e, y, at + 4 * step, LANES)
    vector_store(f, y, at + 5 * step, LANES)


@compiled
def gather(x, image, row, pixel, top, left, h, w, size, columns, patch):
    """patch (size, size, LANES) = x[image + y row + z pixel :] for y from `top`, z from `left`; 0 outside of h x w."""
    for i in range(size):
        for j in range(size):
            y, z = top + i, left + j
            inside = 0 <= y < h and 0 <= z < w
            value = vector_load(x, image + y * row + z * pixel, columns) if inside else vector_zero()
            vector_store(value, patch, (i * size + j) * LANES, LANES)


@compiled
def place_of(tile, grid):
    """Image, row and column of a tile, where each image has grid = (down, across) of them."""
    down, across = grid
    rest = tile % (down * across)
    return tile // (down * across), rest // across, rest % across


@compiled
def fetch(x, at, row, pixel, size, first):
    """Begin to bring near the patch of size x size pixels at x[at], but for the columns before `first`."""
    for i in range(size):
        for j in range(first, size):
            prefetch(x, at + i * row + j * pixel)


@compiled
def seen_by(tile, grid, x, seeing, channel, columns, half, patch, v, to, position):
    """`data_in` for the pixels that a tile sees; seeing = (h, w, top, left, image, row, pixel), how x lies."""
    h, w, top, left, image_step, row, pixel = seeing
    image, i, j = place_of(tile + 1, grid)  # what the next tile sees beside this one
    ahead = image * image_step + (i * RESULTS - top) * row + (j * RESULTS - left) * pixel + channel
    fetch(x, ahead, row, pixel, DATA, DATA - RESULTS)
    image, i, j = place_of(tile, grid)
    y, z, at = i * RESULTS - top, j * RESULTS - left, image * image_step + channel
    if y >= 0 and z >= 0 and y + DATA <= h and z + DATA <= w and columns >= LANES:
        data_in(x, at + y * row + z * pixel, row, pixel, half, v, to, position)
    else:
        gather(x, at, row, pixel, y, z, h, w, DATA, columns, patch)
        data_in(patch, 0, DATA * LANES, LANES, half, v, to, position)


@compiled
def data_in(x, at, row, pixel, half, v, to, position):
    """v[to + p position] = B' d B at position p, for the 6 x 6 patch d at x[at]. `half` (6, 6, LANES) is scratch."""
    for j in range(DATA):
        put_six(of_data(*six(x, at + j * pixel, row)), half, j * LANES, DATA * LANES)
    for i in range(DATA):
        put_six(of_data(*six(half, i * DATA * LANES, LANES)), v, to + i * DATA * position, position)


@compiled
def results_out(m, at, position, bias, half, out):
    """out (4, 4, LANES) = bias + A' m A for m[at + p position]; returns the sum of all."""
    for j in range(DATA):
        a, b, c, d = four_results(*six(m, at + j * position, DATA * position))
        vector_store(a, half, j * LANES, LANES)
        vector_store(b, half, (DATA + j) * LANES, LANES)
        vector_store(c, half, (2 * DATA + j) * LANES, LANES)
        vector_store(d, half, (3 * DATA + j) * LANES, LANES)
    total = vector_zero()
    for i in range(RESULTS):
        a, b, c, d = four_results(*six(half, i * DATA * LANES, LANES))
        a, b, c, d = a + bias, b + bias, c + bias, d + bias
        total = total + ((a + b) + (c + d))
        vector_store(a, out, i * RESULTS * LANES, LANES)
        vector_store(b, out, (i * RESULTS + 1) * LANES, LANES)
        vector_store(c, out, (i * RESULTS + 2) * LANES, LANES)
        vector_store(d, out, (i * RESULTS + 3) * LANES, LANES)
    return total


@compiled
def given_to(tile, grid, g, giving, channel, columns, half, patch, v, to, position):
    """`gradient_in` for the pixels of a tile itself; giving = (h, w, image, row, pixel), how g lies."""
    h, w, image_step, row, pixel = giving
    image, i, j = place_of(tile + 1, grid)
    fetch(g, image * image_step + i * RESULTS * row + j * RESULTS * pixel + channel, row, pixel, RESULTS, 0)
    image, i, j = place_of(tile, grid)
    y, z, at = i * RESULTS, j * RESULTS, image * image_step + channel
    if y + RESULTS <= h and z + RESULTS <= w and columns >= LANES:
        gradient_in(g, at + y * row + z * pixel, row, pixel, half, v, to, position)
    else:
        gather(g, at, row, pixel, y, z, h, w, RESULTS, columns, patch)
        gradient_in(patch, 0, RESULTS * LANES, LANES, half, v, to, position)


@compiled
def gradient_in(g, at, row, pixel, half, v, to, position):
    """v[to + p position] = G g G' at position p, for the 4 x 4 patch at g[at]."""
    for j in range(RESULTS):
        place = at + j * pixel
        a, b = vector_load(g, place, LANES), vector_load(g, place + row, LANES)
        c, d = vector_load(g, place + 2 * row, LANES), vector_load(g, place + 3 * row, LANES)
        put_six(of_four(a, b, c, d), half, j * LANES, RESULTS * LANES)
    for i in range(DATA):
        place = i * RESULTS * LANES
        a, b = vector_load(half, place, LANES), vector_load(half, place + LANES, LANES)
        c, d = vector_load(half, place + 2 * LANES, LANES), vector_load(half, place + 3 * LANES, LANES)
        put_six(of_four(a, b, c, d), v, to + i * DATA * position, position)
