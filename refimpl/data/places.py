"""Where images lie, as easting and northing in metres on one plane, whatever their coordinate reference systems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EARTH_RADIUS = 6_371_008.8  # metres, mean radius


@dataclass(frozen=True)
class Place:
    """Where the centre of an image lies: x, y in the coordinate reference system `crs` (WKT)."""

    crs: str
    x: float
    y: float


def locations(places: list[Place | None]) -> np.ndarray | None:
    """Easting and northing in metres, (N, 2) float64, or None when any image does not say where it lies.

    One projected system in metres for all: the centres as they are. Otherwise (degrees, or several UTM zones) every
    centre goes to longitude and latitude and from there to one plane about the mean latitude of the set,
    easting = R cos(mean latitude) longitude, northing = R latitude (radians, R = 6,371,008.8 m): distances between
    neighbours hold to the ratio cos(latitude) / cos(mean latitude).
    """
    if not places or any(place is None for place in places):
        return None
    from rasterio.crs import CRS
    from rasterio.warp import transform

    xy = np.array([(place.x, place.y) for place in places], dtype=np.float64)
    systems = [place.crs for place in places]
    kinds = sorted(set(systems))
    if len(kinds) == 1:
        crs = CRS.from_wkt(kinds[0])
        if crs.is_projected and crs.linear_units_factor[1] == 1.0:
            return xy
    degrees = np.empty_like(xy)
    for kind in kinds:
        here = np.array([system == kind for system in systems])
        lon, lat = transform(kind, "EPSG:4326", xy[here, 0], xy[here, 1])
        degrees[here] = np.stack([lon, lat], axis=1)
    return plane(degrees[:, 0], degrees[:, 1])


def plane(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Easting and northing in metres, (N, 2), of degrees, on the plane that `locations` describes."""
    lon, lat = np.radians(lon), np.radians(lat)
    return EARTH_RADIUS * np.stack([np.cos(lat.mean()) * lon, lat], axis=1)
