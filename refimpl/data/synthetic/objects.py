"""Things seen from the air, one to an image and turned front up, as chips are that are cut along oriented boxes.

What lies on the land is told by colour and texture, which an untrained network sees well, and has no upright. Here it
is the other way round: thing and ground have any colour, so that only shape tells one class from another, and every
thing has a front and parts in their places. Tasks that ask for an orientation or an order of parts are proved on it.

Lengths are in halves of the image's side, in the thing's own axes: u to its right, v ahead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refimpl.data.dataset import Data, DataError, Input, band_moments
from refimpl.data.synthetic.noise import fractal, generator
from refimpl.data.synthetic.scenes import SHARES
from refimpl.data.synthetic.sensors import RGB

NAME = "synthetic-objects"
ABOUT = "things from the air: one plane, ship or vehicle to an image, its front up, in any colours"
FIELDS = ("image", "label")
SAMPLES = 2000

_BODY, _DETAIL, _TRIM, _VEIL = range(4)  # paints: the thing's own, one that differs, its opposite, half transparent
Parts = list[tuple[np.ndarray, int]]  # (distance to the outline, below 0 inside; paint), later ones lie on top


def _box(u, v, middle: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    return np.maximum(np.abs(u - middle[0]) - half[0], np.abs(v - middle[1]) - half[1])


def _ellipse(u, v, middle: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """About the distance; exact for circles."""
    return (np.hypot((u - middle[0]) / half[0], (v - middle[1]) / half[1]) - 1) * min(half)


def _polygon(u, v, *corners: tuple[float, float]) -> np.ndarray:
    """Of a convex polygon whose corners go round clockwise (u to the right, v up)."""
    sides = []
    for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1]):
        sides.append(((v - b) * (c - a) - (u - a) * (d - b)) / np.hypot(c - a, d - b))
    return np.maximum.reduce(sides)


def _union(*distances: np.ndarray) -> np.ndarray:
    return np.minimum.reduce(distances)


def _airliner(u, v) -> Parts:
    side = np.abs(u)
    wings = _polygon(side, v, (0, 0.25), (0.8, -0.22), (0.8, -0.35), (0, -0.05))
    tail = _polygon(side, v, (0, -0.6), (0.32, -0.77), (0.32, -0.86), (0, -0.78))
    return [(_union(_ellipse(u, v, (0, 0), (0.11, 0.85)), wings, tail), _BODY)]


def _propeller_plane(u, v) -> Parts:
    wings, tail = _box(u, v, (0, 0.2), (0.75, 0.11)), _box(u, v, (0, -0.55), (0.28, 0.07))
    body = _union(_ellipse(u, v, (0, -0.05), (0.09, 0.6)), wings, tail)
    return [(body, _BODY), (_box(u, v, (0, 0.55), (0.2, 0.025)), _DETAIL)]


def _delta_jet(u, v) -> Parts:
    side = np.abs(u)
    body = _union(_polygon(side, v, (0, 0.85), (0.55, -0.6), (-0.1, -0.6)), _box(side, v, (0.12, -0.65), (0.06, 0.12)))
    return [(body, _BODY), (_ellipse(u, v, (0, 0.3), (0.05, 0.14)), _DETAIL)]


def _helicopter(u, v) -> Parts:
    right, left = u + v - 0.25, v - u - 0.25  # the blades stand across
    blades = _union(_box(right, left, (0, 0), (0.03, 0.8)), _box(right, left, (0, 0), (0.8, 0.03)))
    boom, fin = _box(u, v, (0, -0.35), (0.045, 0.5)), _box(u, v, (0.08, -0.8), (0.12, 0.04))
    body = _union(_ellipse(u, v, (0, 0.3), (0.17, 0.32)), boom, fin)
    return [(_ellipse(u, v, (0, 0.25), (0.6, 0.6)), _VEIL), (body, _BODY), (blades, _DETAIL)]


def _cargo_ship(u, v) -> Parts:
    hull = _polygon(np.abs(u), v, (-0.1, 0.9), (0.02, 0.9), (0.22, 0.5), (0.2, -0.8), (-0.1, -0.8))
    hatches = _union(*(_box(u, v, (0, ahead), (0.12, 0.1)) for ahead in (0.35, 0.05, -0.25)))
    return [(hull, _BODY), (hatches, _DETAIL), (_box(u, v, (0, -0.65), (0.18, 0.09)), _TRIM)]


def _motor_boat(u, v) -> Parts:
    side = np.abs(u)
    hull = _polygon(side, v, (-0.1, 0.55), (0.02, 0.55), (0.15, 0.2), (0.13, -0.1), (-0.1, -0.1))
    wake = _polygon(side, v, (0.02, -0.12), (0.12, -0.12), (0.42, -0.9), (0.28, -0.9))
    return [(hull, _BODY), (_box(u, v, (0, 0.1), (0.08, 0.08)), _DETAIL), (wake, _VEIL)]


def _car(u, v) -> Parts:
    windows = _union(_box(u, v, (0, 0.22), (0.26, 0.09)), _box(u, v, (0, -0.45), (0.24, 0.06)))
    return [(_box(u, v, (0, 0), (0.32, 0.68)), _BODY), (windows, _DETAIL)]


def _lorry(u, v) -> Parts:
    trailer, cab = _box(u, v, (0, -0.2), (0.2, 0.62)), _box(u, v, (0, 0.68), (0.19, 0.16))
    return [(_union(trailer, cab), _BODY), (_box(u, v, (0, 0.74), (0.15, 0.04)), _DETAIL)]


def _ball_field(u, v) -> Parts:
    side, home = np.abs(u), v + 0.7
    fan = (side - home) * np.float32(0.5**0.5)
    far, base = np.hypot(u, home), side + np.abs(v + 0.25)
    return [(np.maximum(far - 1.45, fan), _VEIL), (np.maximum.reduce([far - 0.7, fan, 0.3 - base]), _BODY)]


def _excavator(u, v) -> Parts:
    tracks = _box(np.abs(u), v, (0.3, -0.4), (0.08, 0.4))
    arm, bucket = _box(u, v, (0.08, 0.2), (0.05, 0.45)), _box(u, v, (0.08, 0.68), (0.15, 0.08))
    return [(tracks, _DETAIL), (_union(_box(u, v, (0, -0.4), (0.2, 0.28)), arm, bucket), _BODY)]


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], Parts]] = {
    "airliner": _airliner, "propeller_plane": _propeller_plane, "delta_jet": _delta_jet, "helicopter": _helicopter,
    "cargo_ship": _cargo_ship, "motor_boat": _motor_boat, "car": _car, "lorry": _lorry, "ball_field": _ball_field,
    "excavator": _excavator,
}  # fmt: skip
CLASSES = tuple(SHAPES)

_TEXTURE = 1024  # pixels along the side of the texture that all grounds are cut from


def make(samples: int | None = None, size: int = 64, seed: int = 0) -> Data:
    """Things of `CLASSES`, as many of each; the same arguments give the same numbers, bit by bit, on one machine.

    Args:
        samples: images; default `SAMPLES`. size: their height and width in pixels.
    Returns:
        `image` (N, 3, size, size) uint8 in red, green and blue; `label` (N,). Each thing fills 65 to 95 % of the image,
        is up to 15 % wider or narrower than drawn, stands up to 15 % off the middle and is turned by chance, 8 degrees
        of standard deviation. The splits share nothing but the texture of the ground.
    Raises:
        DataError: sizes out of range.
    """
    samples = SAMPLES if samples is None else samples
    for what, value, low, high in (("samples", samples, 40, 1_000_000), ("size", size, 16, 512)):
        if not low <= value <= high:
            raise DataError(f"synthetic data: {what} is {value}, but must lie between {low} and {high}")
    rng = generator(seed, 40)
    label = rng.permutation(np.arange(samples) % len(CLASSES))
    texture = fractal(rng, _TEXTURE, 1.0, 64, 3, 2.0)
    image = np.empty((samples, 3, size, size), np.uint8)
    for number, shape in enumerate(SHAPES.values()):
        for chosen in np.array_split(index := np.flatnonzero(label == number), 1 + len(index) // 256):
            image[chosen] = _photograph(shape, len(chosen), size, texture, rng)
    order = rng.permutation(samples)
    cuts = np.cumsum([int(share * samples) for share in SHARES.values()])[:-1]
    splits = {name: np.sort(rows) for name, rows in zip(SHARES, np.split(order, cuts))}
    view = Input(RGB.bands, size, *band_moments(image, splits["train"], limit=500), sensor="rgb")
    return Data(
        name=NAME, fields={"image": image, "label": label.astype(np.int64)}, inputs={"image": view},
        splits=splits, classes=CLASSES, synthetic=True, source=f"synthetic Earth, seed {seed}",
    )  # fmt: skip


def _photograph(shape, n: int, size: int, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """n images (n, 3, size, size) uint8 of one shape, all else by chance."""

    def each(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[:, None, None]

    scale, stretch = each(rng.uniform(0.65, 0.95, n)), each(rng.uniform(0.85, 1.15, n))
    heading, sun = each(np.radians(rng.normal(0, 8, n))), each(rng.uniform(0, 2 * np.pi, n))
    east, north = each(rng.uniform(-0.15, 0.15, n)), each(rng.uniform(-0.15, 0.15, n))
    centre = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1)[None]
    x, y = centre[:, None, :] - east, -centre[:, :, None] - north

    def parts(dx=0.0, dy=0.0) -> Parts:
        """Coverage of every pixel by each part of the thing, moved by (dx, dy)."""
        right = (x - dx) * np.cos(heading) + (y - dy) * np.sin(heading)
        ahead = (y - dy) * np.cos(heading) - (x - dx) * np.sin(heading)
        drawn = shape(right / (scale * stretch), ahead / scale)
        return [(np.clip(0.5 - distance * scale * size / 2, 0, 1), paint) for distance, paint in drawn]

    ground = rng.uniform(0.2, 0.55, n)
    # A thing is brighter than dark ground, darker than bright ground, and either on ground between.
    sign = np.where(ground > 0.4, -1, np.where(ground < 0.3, 1, rng.choice([-1, 1], n)))
    body = ground + sign * rng.uniform(0.12, 0.35, n)
    detail = body + rng.choice([-1, 1], n) * rng.uniform(0.08, 0.2, n)
    paints = {_BODY: body, _DETAIL: detail, _TRIM: 2 * body - detail, _VEIL: body}
    tints = rng.normal(0, 0.04, (2, n, 3, 1, 1)).astype(np.float32)  # of the ground and of the thing

    row, column = rng.integers(0, _TEXTURE, (2, n, 1)) + np.arange(size)
    rough = texture[row[:, :, None] % _TEXTURE, column[:, None, :] % _TEXTURE]
    seen = (each(ground) + each(rng.uniform(0.02, 0.09, n)) * rough)[:, None] + tints[0]
    shadow = np.maximum.reduce(
        [cover for cover, paint in parts(0.08 * np.cos(sun), 0.08 * np.sin(sun)) if paint != _VEIL]
    )
    seen *= 1 - 0.5 * shadow[:, None]
    for cover, paint in parts():
        cover = (cover * (0.35 if paint == _VEIL else 1.0))[:, None]
        seen += cover * (each(paints[paint])[:, None] + tints[1] - seen)
    seen += rng.normal(0, 0.02, seen.shape)
    return (seen.clip(0, 1) * 255).astype(np.uint8)
