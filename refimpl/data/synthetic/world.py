"""The land itself: relief, climate, land use and what covers the ground at any coordinate.

The world is a function of position. Slow fields (relief, moisture, land use) are kept on 40 m cells; parcels, streets,
orchard rows, roads and rivers are computed from the coordinate when somebody looks, at any ground sample distance, so
that the same place seen twice, from a satellite or from a drone, is the same place.

Land *use* is what a window is labelled with (`USES`); land *cover* is the material on the ground (`MATERIALS`). A use
is a pattern of covers: what tells an orchard from a pasture is rows of trees, not another colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from refimpl.data.synthetic.noise import Atlas, fractal, generator, hash_of, unit
from refimpl.data.synthetic.signatures import (
    ASPHALT,
    BROADLEAF,
    CONCRETE,
    CONIFER,
    GRASS,
    MATERIALS,
    METAL,
    SOIL,
    SUMMER_CROP,
    TILE,
    WATER,
    WINTER_CROP,
)  # fmt: skip

USES = (
    "annual crop", "broadleaf forest", "conifer forest", "pasture", "orchard", "residential", "industrial", "lake",
    "river", "highway",
)  # fmt: skip
CROP, BROADLEAF_FOREST, CONIFER_FOREST, PASTURE, ORCHARD, RESIDENTIAL, INDUSTRIAL, LAKE, RIVER, HIGHWAY = range(10)
ZONES = 8  # the first eight uses fill areas; rivers and highways are lines through them

CELL = 40.0  # metres, slow fields
_GRAIN = 5.0  # metres, canopy and ground texture
_BLOCK = 960.0  # metres; within a block of land, parcels share their orientation and typical size
# Typical parcel (length, width) in metres of each area use.
_PARCEL = np.array(
    [(260, 130), (330, 260), (280, 210), (340, 230), (170, 120), (110, 74), (170, 120), (600, 600)], np.float32
)
# What favours each area use: (elevation, moisture, steepness), all in deviations from their mean.
_LIKES = np.array(
    [(-.3, 0, -.5), (.3, .2, .5), (.7, 0, .4), (.1, .4, 0), (0, -.5, .1), (-.2, 0, -.3), (-.3, -.1, -.5), (-.6, .5, -.5)]
)  # fmt: skip
_LINES_PER_KM = {"river": 0.16, "road": 0.24}  # km of line per square km


@dataclass
class Spot:
    """What a pattern may use of the points it fills; all arrays have one entry per point.

    along, across: metres from two sides of the parcel. length, width: the parcel's size. edge: metres to its border.
    block, parcel: four random numbers in [0, 1) each, one row per number. grain, clump: noise of about 15 m and 60 m.
    blur: metres over which an edge fades, the ground sample distance: this is what makes mixed pixels.
    """

    along: np.ndarray
    across: np.ndarray
    length: np.ndarray
    width: np.ndarray
    edge: np.ndarray
    block: np.ndarray
    parcel: np.ndarray
    grain: np.ndarray
    clump: np.ndarray
    blur: float

    def where(self, index: np.ndarray) -> Spot:
        picked = {k: v[..., index] for k, v in self.__dict__.items() if k != "blur"}
        return replace(self, **picked)

    def inside(self, distance: np.ndarray) -> np.ndarray:
        """Covered share of a pixel whose centre lies `distance` metres inside a straight edge."""
        return np.clip(distance / self.blur + 0.5, 0, 1)


Shares = dict[int, np.ndarray]  # material -> share of the point's pixel; shares sum to 1
Pattern = Callable[[Spot], tuple[Shares, np.ndarray]]  # and brightness of the texture, around 1


def _annual_crop(s: Spot) -> tuple[Shares, np.ndarray]:
    """Parcels of winter crop, summer crop or fallow with grassy margins; drilling lines along the parcel."""
    margin = 1 - s.inside(s.edge - 4)
    kind = s.parcel[0]
    field = 1 - margin
    lines = 0.05 * np.cos(2 * np.pi * s.across / (24 + 24 * s.parcel[2]))
    gain = 0.85 + 0.3 * s.parcel[1] + lines + 0.03 * s.grain
    winter, summer = kind < 0.42, (kind >= 0.42) & (kind < 0.82)
    return {GRASS: margin, WINTER_CROP: field * winter, SUMMER_CROP: field * summer,
            SOIL: field * ~(winter | summer)}, gain  # fmt: skip


def _broadleaf_forest(s: Spot) -> tuple[Shares, np.ndarray]:
    """Rounded crowns in clumps of some 60 m, with glades."""
    closed = s.inside(40 * (s.clump + 1.9 - 0.9 * s.block[2]))
    return {BROADLEAF: closed, GRASS: 1 - closed}, 0.9 + 0.13 * s.clump + 0.05 * s.grain


def _conifer_forest(s: Spot) -> tuple[Shares, np.ndarray]:
    """Plantation compartments of different age, split by fire breaks, with fine rough canopy."""
    break_ = (1 - s.inside(s.edge - 5)) * (s.block[2] < 0.7)
    closed = (1 - break_) * np.clip(0.75 + 0.25 * s.parcel[0] + 0.1 * s.grain, 0, 1)
    return {CONIFER: closed, GRASS: 1 - closed}, 0.75 + 0.35 * s.parcel[1] + 0.16 * s.grain


def _pasture(s: Spot) -> tuple[Shares, np.ndarray]:
    """Large even parcels, some with hedges, single clumps of trees."""
    hedge = (1 - s.inside(s.edge - 5)) * (s.parcel[0] < 0.55)
    trees = np.maximum(hedge, s.inside(30 * (s.clump - 2.0)))
    return {BROADLEAF: trees, GRASS: 1 - trees}, 0.9 + 0.14 * s.parcel[1] + 0.06 * s.clump + 0.02 * s.grain


def _orchard(s: Spot) -> tuple[Shares, np.ndarray]:
    """Small plots of tree rows over grass or bare ground. Rows are 22-36 m apart so that 10 m pixels can see them."""
    period = 22 + 14 * s.block[2]
    from_row = np.abs((s.across / period) % 1 - 0.5) * period
    plot = s.inside(s.edge - 7)
    trees = plot * s.inside(period * (0.2 + 0.08 * s.parcel[2]) - from_row) * (s.parcel[0] < 0.9)
    grassy = (1 - trees) * np.where(s.parcel[1] < 0.7, 0.85, 0.25)
    return {BROADLEAF: trees, GRASS: grassy, SOIL: 1 - trees - grassy}, 0.95 + 0.1 * s.parcel[3] + 0.04 * s.grain


def _residential(s: Spot) -> tuple[Shares, np.ndarray]:
    """Street grid; two rows of houses per parcel, with gardens and trees between them."""
    street = 1 - s.inside(s.edge - 5)
    pitch = 24 + 10 * s.block[2]
    along = np.abs((s.along / pitch) % 1 - 0.5) * pitch
    across = np.abs(np.abs(s.across - s.width / 2) - s.width * 0.22)
    house = s.inside(pitch * 0.29 - along) * s.inside(7.5 - across) * (1 - street)
    trees = (1 - street - house) * s.inside(25 * (s.grain - 0.5))
    roof = np.where(s.block[3] < 0.6, TILE, CONCRETE)
    garden = 1 - street - house - trees
    return {ASPHALT: street, TILE: house * (roof == TILE), CONCRETE: house * (roof == CONCRETE), BROADLEAF: trees,
            GRASS: garden}, 0.95 + 0.05 * s.grain  # fmt: skip


def _industrial(s: Spot) -> tuple[Shares, np.ndarray]:
    """Large halls of metal, concrete or bitumen on paved yards with some lawn."""
    road = 1 - s.inside(s.edge - 6)
    hall = s.inside(s.edge - 18 - 22 * s.parcel[1]) * (s.parcel[0] < 0.9)
    kind = s.parcel[2]
    yard = (1 - road - hall).clip(0)
    lawn = s.parcel[3] < 0.45
    return {ASPHALT: road + hall * (kind >= 0.62) + yard * (s.parcel[3] > 0.75), METAL: hall * (kind < 0.3),
            CONCRETE: hall * ((kind >= 0.3) & (kind < 0.62)) + yard * ((s.parcel[3] <= 0.75) & ~lawn),
            GRASS: yard * lawn}, 0.85 + 0.3 * s.parcel[1] + 0.03 * s.grain  # fmt: skip


def _lake(s: Spot) -> tuple[Shares, np.ndarray]:
    """Open water, now and then with an island."""
    island = s.inside(35 * (s.clump - 2.7))
    return {WATER: 1 - island, BROADLEAF: island}, 1 + 0.04 * s.clump


def _clearing(s: Spot) -> tuple[Shares, np.ndarray]:
    """What a felled parcel of forest looks like: bare ground with some regrowth (a change event)."""
    cut = s.inside(s.edge - 8)
    grassy = 0.2 * s.inside(20 * (s.clump - 0.8))
    return {SOIL: cut * (1 - grassy), GRASS: cut * grassy, BROADLEAF: 1 - cut}, 1 + 0.04 * s.grain


PATTERNS: tuple[Pattern, ...] = (
    _annual_crop, _broadleaf_forest, _conifer_forest, _pasture, _orchard, _residential, _industrial, _lake,
)  # fmt: skip


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
        for number, pattern in enumerate((*PATTERNS, _clearing)):
            index = np.flatnonzero(drawn == number)
            if len(index):
                found, bright = pattern(spot.where(index))
                gain[index] = bright
                for material, share in found.items():
                    shares[material, index] = share
        use = zone.copy()
        self._lay_lines(shares, gain, use, slow, fine, spot)
        numbers = (gain, slow["east"], slow["north"], slow["elevation"], use)
        return Ground(shares.reshape(len(MATERIALS), *shape), *(np.ascontiguousarray(v).reshape(shape) for v in numbers))

    def _parcels(self, x, y, zone, fine, gsd) -> tuple[Spot, np.ndarray]:
        """Parcels like courses of bricks, turned block by block; and each parcel's number that decides on a change."""
        column = np.floor((x + 90 * np.sin(y / 700)) / _BLOCK).astype(np.int32)
        row = np.floor((y + 90 * np.sin(x / 800)) / _BLOCK).astype(np.int32)
        block = hash_of(column, row, self.seed)
        size = 0.75 + 0.5 * unit(block, 1)
        length, width = _PARCEL[zone, 0] * size, _PARCEL[zone, 1] * size
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
