"""How each land use looks from above: a small pattern of covers per use.

A pattern is given the points it fills (their place in the parcel, random numbers of parcel and block, noise) and says
which share of each point's pixel every material covers, and how bright the texture is. Classes are told apart by these
patterns more than by their colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from refimpl.data.synthetic.signatures import (
    ASPHALT,
    BROADLEAF,
    CONCRETE,
    CONIFER,
    GRASS,
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
# Typical parcel (length, width) in metres of each area use.
PARCEL = np.array(
    [(260, 130), (330, 260), (280, 210), (340, 230), (170, 120), (110, 74), (170, 120), (600, 600)], np.float32
)


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


def clearing(s: Spot) -> tuple[Shares, np.ndarray]:
    """What a felled parcel of forest looks like: bare ground with some regrowth (a change event)."""
    cut = s.inside(s.edge - 8)
    grassy = 0.2 * s.inside(20 * (s.clump - 0.8))
    return {SOIL: cut * (1 - grassy), GRASS: cut * grassy, BROADLEAF: 1 - cut}, 1 + 0.04 * s.grain


PATTERNS: tuple[Pattern, ...] = (
    _annual_crop, _broadleaf_forest, _conifer_forest, _pasture, _orchard, _residential, _industrial, _lake,
)  # fmt: skip
