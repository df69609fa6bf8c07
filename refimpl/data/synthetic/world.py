"""The land itself: relief, climate, land use and what covers the ground at any coordinate.

The world is a function of position. Slow fields (relief, moisture, land use) are kept on 40 m cells; parcels, streets,
orchard rows, roads and rivers are computed from the coordinate when somebody looks, at any ground sample distance, so
that the same place seen twice, from a satellite or from a drone, is the same place.

Land *use* is what a window is labelled with (`USES`); land *cover* is the material on the ground (`MATERIALS`). A use
is a pattern of covers: what tells an orchard from a pasture is rows of trees, not another colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refimpl.data.synthetic.noise import Atlas, fractal, generator, hash_of, unit
from refimpl.data.synthetic.patterns import (
    BROADLEAF_FOREST,
    CONIFER_FOREST,
    CROP,
    HIGHWAY,
    INDUSTRIAL,
    LAKE,
    ORCHARD,
    PARCEL,
    PASTURE,
    PATTERNS,
    RIVER,
    ZONES,
    Spot,
    clearing,
)  # fmt: skip
from refimpl.data.synthetic.signatures import ASPHALT, BROADLEAF, GRASS, MATERIALS, WATER

CELL = 40.0  # metres, slow fields
_GRAIN = 5.0  # metres, canopy and ground texture
_BLOCK = 960.0  # metres; within a block of land, parcels share their orientation and typical size
# What favours each area use: (elevation, moisture, steepness), all in deviations from their mean.
_LIKES = np.array(
    [
        (-0.3, 0.0, -0.5), (0.3, 0.2, 0.5), (0.7, 0.0, 0.4), (0.1, 0.4, 0.0),
        (0.0, -0.5, 0.1), (-0.2, 0.0, -0.3), (-0.3, -0.1, -0.5), (-0.6, 0.5, -0.5),
    ]
)  # fmt: skip
_LINES_PER_KM = {"river": 0.16, "road": 0.24}  # km of line per square km


@dataclass
class Ground:
    """The ground at some points, leading shape (...,).

    shares: (M, ...) share of each material, summing to 1. gain: brightness of the texture, around 1.
    slope_east, slope_north: rise per metre. elevation: metres. use: land use (0..9).
    """

    shares: np.ndarray
    gain: np.ndarray
    slope_east: np.ndarray
    slope_north: np.ndarray
    elevation: np.ndarray
    use: np.ndarray

    @property
    def cover(self) -> np.ndarray:
        """The material with the largest share, uint8."""
        return self.shares.argmax(0).astype(np.uint8)


class World:
    """A seeded square of land.

    Args:
        seed: everything follows from it.
        extent: side in metres that is needed; the world is the next power of two of 40 m cells, and wraps round.
    """

    def __init__(self, seed: int = 0, extent: float = 40_000.0):
        self.seed = int(seed)
        n = 256
        while n * CELL < extent:
            n *= 2
        self.extent = n * CELL
        rng = generator(self.seed, 0)
        elevation = 130 * fractal(rng, n, CELL, 12_000, 200, 3.8)
        north, east = np.gradient(elevation, CELL)
        steep = np.hypot(north, east)
        climate = np.stack([_standard(elevation), fractal(rng, n, CELL, 9_000, 1_500, 2.5), _standard(steep)], -1)
        own = np.stack([fractal(rng, n, CELL, 6_000, 1_400, 2.8) for _ in range(ZONES)], -1)
        self.zone = _balanced_argmax(1.15 * own + 0.6 * (climate @ _LIKES.T).astype(np.float32))
        layers = {"elevation": elevation, "east": east, "north": north}
        # Rivers and highways are level lines of smooth fields; value / slope is the distance to the nearest one.
        self._spacing = {}
        for name, longest, shortest, power in (("river", 7_000, 700, 3.6), ("road", 16_000, 4_000, 3.5)):
            field = fractal(rng, n, CELL, longest, shortest, power)
            slope = np.hypot(*np.gradient(field, CELL))
            self._spacing[name] = np.float32(1000 * slope.mean() / _LINES_PER_KM[name])
            layers[name], layers[f"{name}_slope"] = field, np.maximum(slope, 0.35 * slope.mean())
        self._slow = Atlas(layers, CELL)
        fine = {"grain": fractal(rng, 512, _GRAIN, 80, 12, 1.5), "clump": fractal(rng, 512, _GRAIN, 160, 40, 2.0)}
        self._fine = Atlas(fine, _GRAIN)

    def _line_distance(self, slow: dict[str, np.ndarray], name: str) -> np.ndarray:
        spacing = self._spacing[name]
        value = slow[name] / spacing
        return np.abs(value - np.rint(value)) * spacing / slow[f"{name}_slope"]

    def _zone_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        mask = len(self.zone) - 1
        row, column = (np.floor(v * np.float32(1 / CELL)).astype(np.int32) & mask for v in (y, x))
        return self.zone[row, column]

    def uses(self, x: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
        """Land use of an area round each coordinate when a line within `reach` metres of it counts, else the zone."""
        slow = self._slow.at(x, y)
        use = self._zone_at(x, y).copy()
        use[(self._line_distance(slow, "river") < reach) & (use != LAKE)] = RIVER
        use[(self._line_distance(slow, "road") < reach) & (use != LAKE) & (use != RIVER)] = HIGHWAY
        return use

    def look(self, x: np.ndarray, y: np.ndarray, gsd: float, changes: float = 0.0) -> Ground:
        """What is on the ground.

        Args:
            x, y: eastings and northings in metres, any equal shape.
            gsd: ground sample distance in metres; edges fade over it.
            changes: share of parcels where building (on open land) or felling (in forest) has happened since.
        """
        shape = np.shape(x)
        x, y = np.ravel(x).astype(np.float32), np.ravel(y).astype(np.float32)
        slow, fine = self._slow.at(x, y), self._fine.at(x, y)
        # Noise shifts the look-up, so that zones have natural edges instead of 40 m stairs.
        zone = self._zone_at(x + 26 * fine["clump"], y - 26 * fine["clump"])
        spot, event = self._parcels(x, y, zone, fine, gsd)
        drawn = zone.astype(np.int16)
        if changes > 0:
            felled = (event < changes) & ((zone == BROADLEAF_FOREST) | (zone == CONIFER_FOREST))
            built = (event < changes) & ((zone == CROP) | (zone == PASTURE) | (zone == ORCHARD))
            drawn[felled], drawn[built] = ZONES, INDUSTRIAL
        shares = np.zeros((len(MATERIALS), len(x)), np.float32)
        gain = np.ones(len(x), np.float32)
        for number, pattern in enumerate((*PATTERNS, clearing)):
            index = np.flatnonzero(drawn == number)
            if len(index):
                found, bright = pattern(spot.where(index))
                gain[index] = bright
                for material, share in found.items():
                    shares[material, index] = share
        use = zone.copy()
        self._lay_lines(shares, gain, use, slow, fine, spot)
        numbers = (gain, slow["east"], slow["north"], slow["elevation"], use)
        return Ground(
            shares.reshape(len(MATERIALS), *shape), *(np.ascontiguousarray(v).reshape(shape) for v in numbers)
        )

    def _parcels(self, x, y, zone, fine, gsd) -> tuple[Spot, np.ndarray]:
        """Parcels like courses of bricks, turned block by block; and each parcel's number that decides on a change."""
        column = np.floor((x + 90 * np.sin(y / 700)) / _BLOCK).astype(np.int32)
        row = np.floor((y + 90 * np.sin(x / 800)) / _BLOCK).astype(np.int32)
        block = hash_of(column, row, self.seed)
        size = 0.75 + 0.5 * unit(block, 1)
        length, width = PARCEL[zone, 0] * size, PARCEL[zone, 1] * size
        angle = np.float32(np.pi) * unit(block, 0)
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = (x * cos + y * sin) / length, (y * cos - x * sin) / width
        course = np.floor(v)
        u = u + unit(hash_of(course, block), 0)
        brick = np.floor(u)
        along, across = (u - brick) * length, (v - course) * width
        edge = np.minimum(np.minimum(along, length - along), np.minimum(across, width - across))
        parcel = hash_of(course, brick, block)
        spot = Spot(
            along, across, length, width, edge,
            np.stack([unit(block, i) for i in range(4)]), np.stack([unit(parcel, i) for i in range(4)]),
            fine["grain"], fine["clump"], max(gsd, 2.0),
        )  # fmt: skip
        return spot, unit(hash_of(parcel, 7), 2)

    def _lay_lines(self, shares, gain, use, slow, fine, spot) -> None:
        """Rivers with wooded banks, then highways with two carriageways, drawn over everything but lakes."""
        river, road = self._line_distance(slow, "river"), self._line_distance(slow, "road")
        for number, distance, reach in ((RIVER, river, 110.0), (HIGHWAY, road, 60.0)):
            index = np.flatnonzero((distance < reach) & (use != LAKE))
            near, blur = distance[index], spot.blur
            if number == RIVER:
                half = 34 + 9 * fine["clump"][index]
                water = np.clip((half - near) / blur + 0.5, 0, 1)
                bank = np.clip((half + 30 - near) / blur + 0.5, 0, 1) * (fine["grain"][index] > -0.3) - water
                layers = ((WATER, water), (BROADLEAF, bank.clip(0)))
            else:
                asphalt = np.clip((13 - np.abs(near - 17)) / blur + 0.5, 0, 1)
                verge = np.clip((46 - near) / blur + 0.5, 0, 1) - asphalt
                layers = ((ASPHALT, asphalt), (GRASS, verge.clip(0)))
            total = sum(layer for _, layer in layers)
            under = shares[:, index] * (1 - total)
            for material, layer in layers:
                under[material] += layer
            shares[:, index] = under
            gain[index] += total * (1 - gain[index])
            use[index[total > 0.5]] = number


def _standard(field: np.ndarray) -> np.ndarray:
    return (field - field.mean()) / field.std()


def _balanced_argmax(score: np.ndarray) -> np.ndarray:
    """(n, n, K) -> (n, n) uint8, the best class once each class has an offset that gives all about the same area."""
    sample = score[::8, ::8].reshape(-1, score.shape[-1])
    offset = np.zeros(score.shape[-1], np.float32)
    for _ in range(60):
        share = np.bincount((sample + offset).argmax(1), minlength=len(offset)) / len(sample)
        offset -= 0.25 * np.log(np.maximum(share, 1e-3) * len(offset)).astype(np.float32)
    return (score + offset).argmax(-1).astype(np.uint8)
