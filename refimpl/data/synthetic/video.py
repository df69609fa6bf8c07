"""A drone's camera over the synthetic Earth, with the true depth of every pixel.

The ground is a height field z(x, y): relief plus what stands on it (trees, buildings). The camera is a pinhole that
looks down and ahead and flies forward between frames. A pixel's ray c + t d meets the ground where

    F(t) = c_z + t d_z - z(c_x + t d_x, c_y + t d_y) = 0

and depth is the distance along the optical axis, as depth networks predict it. The first crossing is found by
stepping along the ray between the heights of the highest and the lowest ground and refined by the secant rule
(regula falsi), for all pixels of a chunk of clips at once.
"""

from __future__ import annotations

import numpy as np

from refimpl.data.synthetic import scenes, signatures
from refimpl.data.synthetic.noise import fractal, generator
from refimpl.data.synthetic.sensors import RGB, day_of_year, sun
from refimpl.data.synthetic.world import World

ABOUT = "drone flight: short clips of RGB frames over relief, with the true depth of every frame"
FIELD_OF_VIEW = 50.0  # degrees, across the image
_CELL = 1.0  # metres; each clip's ground is a map of this resolution
_SIDE = 160  # cells of that map
# Height above the ground in metres of each material.
_HEIGHT = np.zeros(len(signatures.MATERIALS), np.float32)
_HEIGHT[[signatures.BROADLEAF, signatures.CONIFER, signatures.TILE, signatures.METAL, signatures.CONCRETE]] = (
    9, 12, 6, 8, 3,
)  # fmt: skip


def focal_length(size: int) -> float:
    """Focal length in pixels of an image of `size` pixels; the principal point is its centre."""
    return size / 2 / float(np.tan(np.radians(FIELD_OF_VIEW / 2)))


def rays(pose: np.ndarray, size: int) -> np.ndarray:
    """Directions (..., 3, H, W) in (east, north, up) of a camera's pixels, with length 1 along the optical axis.

    pose: (..., 6) = east, north, up in metres, yaw (clockwise from north), pitch (below the horizon) and roll in
    radians. Depth times direction, added to the camera's place, is the point that a pixel sees.
    """
    yaw, pitch, roll = (pose[..., i, None] for i in (3, 4, 5))
    zero = np.zeros_like(yaw)
    ahead = np.concatenate([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)], -1)
    level = np.concatenate([np.cos(yaw), -np.sin(yaw), zero], -1)
    below = np.cross(ahead, level)
    right = level * np.cos(roll) + below * np.sin(roll)
    down = below * np.cos(roll) - level * np.sin(roll)
    pixel = (np.arange(size) + 0.5 - size / 2) / focal_length(size)
    grid = (..., slice(None), None, None)
    return (ahead[grid] + right[grid] * pixel[None, :] + down[grid] * pixel[:, None]).astype(np.float32)


class _Maps:
    """Ground of n clips on square maps of `_CELL` metres: height (metres) and colour, read bilinearly."""

    def __init__(self, world: World, centre: np.ndarray, days: np.ndarray, rough: np.ndarray):
        n = len(centre)
        step = ((np.arange(_SIDE) - _SIDE / 2) * _CELL).astype(np.float32)
        self.west, self.south = centre[:, 0] + step[0], centre[:, 1] + step[0]
        x = np.broadcast_to(centre[:, 0, None, None] + step[None, None, :], (n, _SIDE, _SIDE))
        y = np.broadcast_to(centre[:, 1, None, None] + step[None, :, None], (n, _SIDE, _SIDE))
        ground = world.look(x, y, gsd=4.0)  # edges over 4 m, so that walls are steep but finite
        grain = rough[np.mod(y, 512).astype(np.int32), np.mod(x, 512).astype(np.int32)]
        tall = np.einsum("m,mnhw->nhw", _HEIGHT, ground.shares)
        self.height = ground.elevation + tall * (1 + 0.06 * grain)
        spectra = signatures.seen(RGB.weights(), day_of_year(days))  # (n, M, 3)
        colour = np.einsum("nmc,mnhw->nhwc", spectra, ground.shares, optimize=True)
        north, east = np.gradient(self.height, _CELL, axis=(1, 2))
        to_sun = [v.astype(np.float32)[:, None, None] for v in sun(days)]
        shade = (to_sun[2] - east * to_sun[0] - north * to_sun[1]) / np.sqrt(1 + east**2 + north**2)
        light = 0.35 + 0.65 * shade.clip(0) / to_sun[2]
        self.colour = (colour * (ground.gain * light * (1 + 0.10 * grain))[..., None]).reshape(-1, 3)
        self.flat = self.height.reshape(-1)
        self.clip = (np.arange(n) * _SIDE * _SIDE).astype(np.int64)

    def _corners(self, x, y):
        lead = (slice(None),) + (None,) * (x.ndim - 1)
        u = ((x - self.west[lead]) / _CELL).clip(0, _SIDE - 1.001)
        v = ((y - self.south[lead]) / _CELL).clip(0, _SIDE - 1.001)
        left, low = u.astype(np.int32), v.astype(np.int32)
        return self.clip[lead] + low * _SIDE + left, u - left, v - low

    def _read(self, table, x, y):
        at, u, v = self._corners(x, y)
        if table.ndim == 2:
            u, v = u[..., None], v[..., None]
        south = table[at] * (1 - u) + table[at + 1] * u
        north = table[at + _SIDE] * (1 - u) + table[at + _SIDE + 1] * u
        return south * (1 - v) + north * v

    def z(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self._read(self.flat, x, y)

    def rgb(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self._read(self.colour, x, y)


def _first_hit(maps: _Maps, origin: np.ndarray, ray: np.ndarray, steps: int = 16) -> np.ndarray:
    """Depth (n, T, H, W) at which rays (n, T, 3, H, W) from origins (n, T, 3) first meet the ground."""
    cx, cy, cz = (origin[:, :, i, None, None] for i in range(3))
    dx, dy, dz = (ray[:, :, i] for i in range(3))
    top, bottom = (f(axis=(1, 2))[:, None, None, None] for f in (maps.height.max, maps.height.min))
    near, far = (top + 0.5 - cz) / dz, (bottom - 0.5 - cz) / dz
    near = np.maximum(near, 0)
    before, after = near, far
    gap_before = cz + near * dz - maps.z(cx + near * dx, cy + near * dy)
    gap_after = cz + far * dz - maps.z(cx + far * dx, cy + far * dy)
    found = np.zeros(near.shape, bool)
    last, gap_last = near, gap_before
    for k in range(1, steps + 1):
        t = near + (far - near) * np.float32(k / steps)
        gap = cz + t * dz - maps.z(cx + t * dx, cy + t * dy)
        hit = (gap <= 0) & ~found
        before, gap_before = np.where(hit, last, before), np.where(hit, gap_last, gap_before)
        after, gap_after = np.where(hit, t, after), np.where(hit, gap, gap_after)
        found |= hit
        last, gap_last = t, gap
    for _ in range(6):
        t = before + (after - before) * (gap_before / np.maximum(gap_before - gap_after, 1e-6)).clip(0.02, 0.98)
        gap = cz + t * dz - maps.z(cx + t * dx, cy + t * dy)
        above = gap > 0
        before, gap_before = np.where(above, t, before), np.where(above, gap, gap_before)
        after, gap_after = np.where(above, after, t), np.where(above, gap_after, gap)
    return np.where(-gap_after < gap_before, after, before)


def fly(world: World, centre: np.ndarray, days: np.ndarray, size: int, frames: int, seed: int) -> dict[str, np.ndarray]:
    """Clips over the given places.

    Args:
        centre: (N, 2) metres, roughly below the middle of each flight.
        days: (N,) since 1970-01-01.
    Returns:
        video (N, T, 3, H, W) uint8, depth (N, T, H, W) float32 metres, pose (N, T, 6) float64 (see `rays`).
    """
    rough = fractal(generator(seed, 30), 512, _CELL, 16, 2.0, 1.0)

    def make(chosen: slice, number: int) -> dict[str, np.ndarray]:
        rng = generator(seed, 31, number)
        middle, day = centre[chosen], days[chosen]
        n = len(middle)
        maps = _Maps(world, middle, day, rough)
        yaw, speed = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(4.0, 9.0, (n, 1))
        moved = speed * (np.arange(frames) - (frames - 1) / 2) - 15.0  # the camera looks ahead: start behind the middle
        east = middle[:, :1] + moved * np.sin(yaw) + rng.normal(0, 0.25, (n, frames))
        north = middle[:, 1:] + moved * np.cos(yaw) + rng.normal(0, 0.25, (n, frames))
        ground = maps.z(middle[:, :1].astype(np.float32), middle[:, 1:].astype(np.float32))
        up = ground + rng.uniform(48, 68, (n, 1)) + rng.normal(0, 0.2, (n, frames))
        pitch = np.radians(rng.uniform(68, 84, (n, 1))) + rng.normal(0, 0.008, (n, frames))
        turn, roll = rng.normal(0, 0.012, (n, frames)), rng.normal(0, 0.012, (n, frames))
        pose = np.stack([east, north, up, yaw + turn, pitch, roll], -1)
        # Single precision only has centimetres at 40 km, so rays are traced relative to each clip's middle.
        maps.west, maps.south = maps.west - middle[:, 0], maps.south - middle[:, 1]
        origin = (pose[..., :3] - np.pad(middle, ((0, 0), (0, 1)))[:, None]).astype(np.float32)
        ray = rays(pose, size)
        depth = _first_hit(maps, origin, ray)
        x, y = (origin[:, :, i, None, None] + depth * ray[:, :, i] for i in (0, 1))
        exposure = np.exp(rng.normal(0, 0.15, (n, 1, 1, 1, 1))).astype(np.float32)
        picture = maps.rgb(x, y) * exposure * np.float32(RGB.scale * 1.2)
        picture += 2.0 * rng.standard_normal(picture.shape, dtype=np.float32)
        video = np.rint(picture).clip(0, 255).astype(np.uint8)
        return {"video": np.moveaxis(video, -1, 2), "depth": depth.astype(np.float32), "pose": pose}

    return scenes.in_chunks(len(centre), make, length=8)
