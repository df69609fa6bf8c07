"""From the bytes of one image file to its numbers, (C, H, W): JPEG and PNG by Pillow, GeoTIFF by rasterio.

The first file of a set decides size, bands and number type (`Form`); every other file must fit it, or is brought to it
by an explicit size. Numbers are kept as they are: uint8 from JPEG and 8-bit PNG, uint16 or int16 from a GeoTIFF.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from refimpl.data.bands import PUBLISHED_BANDS, Bands, pick_bands
from refimpl.data.dataset import DataError
from refimpl.data.places import Place
from refimpl.data.words import one_line

TIFF_SUFFIXES = (".tif", ".tiff")

_PICTURE_BANDS = {"RGB": ("red", "green", "blue"), "L": ("grey",), "I;16": ("grey",)}
_PICTURE_MODES = {"RGBA": "RGB", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "1": "L", "LA": "L", "I;16B": "I;16"}
# How GeoTIFF number types are kept; torch has no use for the others.
_KEPT_TYPES = {
    **{name: name for name in ("uint8", "int16", "uint16", "int32", "float32")},
    **{"int8": "int16", "uint32": "int32", "float64": "float32"},
}
MOST_PIXELS = 1 << 26  # of one image: 8192 x 8192


@dataclass(frozen=True)
class Form:
    """What every image of a set looks like once decoded.

    picks: which bands of a file are kept, from 0, in this order. mode: Pillow's word for a picture, "" for a GeoTIFF.
    exact: files of another size are refused (no size was asked for).
    """

    bands: tuple[str, ...]
    picks: tuple[int, ...]
    size: int
    dtype: str
    mode: str = ""
    exact: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.bands), self.size, self.size


def form_of(raw: bytes, where: str, root: str, size: int | None, wanted: Bands) -> Form:
    """The form that the first file of a set gives to all.

    root: folder that holds the set, for `PUBLISHED_BANDS`. size: pixels to bring every image to, or None for the
    first file's own. wanted: bands to keep, names or numbers from 1, or None for all.
    Raises DataError for a file that cannot be read, a wrong band, or an image that is not square when `size` is None.
    """
    published = PUBLISHED_BANDS.get(PurePosixPath(root).name, ())
    if is_tiff(where):
        with _open_tiff(raw, where) as source:
            width, height, mode = source.width, source.height, ""
            names = tuple(source.descriptions)
            kinds = {_KEPT_TYPES.get(kind) for kind in source.dtypes}
            if None in kinds:
                raise DataError(f"{where}: holds {source.dtypes[0]} numbers; convert it to uint16, int16 or float32")
            dtype = str(np.result_type(*kinds))
        if not all(names) or len(set(names)) < len(names):
            names = tuple(str(n + 1) for n in range(len(names)))
    else:
        image = _open_picture(raw, where)
        (width, height), mode = image.size, _mode(image, where)
        names, dtype = _PICTURE_BANDS[mode], "uint16" if mode == "I;16" else "uint8"
    if len(published) == len(names):
        names = published
    if size is None and width != height:
        raise DataError(f"{where}: {width} x {height} pixels, but images must be square; --size N crops and resizes")
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{where}: {width} x {height} pixels is a whole scene; cut it into tiles first (gdal_retile.py)"
        )
    picks = pick_bands(names, wanted, where)
    return Form(tuple(names[n] for n in picks), picks, size or width, dtype, mode, exact=size is None)


def decode(raw: bytes, where: str, form: Form, out: np.ndarray) -> Place | None:
    """Write the numbers of one image file into `out` (C, H, W) and tell where it lies, if the file says so.

    Raises DataError naming the file when it cannot be read or does not fit the form.
    """
    return _decode_tiff(raw, where, form, out) if is_tiff(where) else _decode_picture(raw, where, form, out)


def is_tiff(name: str) -> bool:
    return name.lower().endswith(TIFF_SUFFIXES)


def _misfit(where: str, width: int, height: int, form: Form) -> DataError:
    return DataError(
        f"{where}: {width} x {height} pixels, but the first image has {form.size} x {form.size}; "
        "--size N brings all to one size"
    )


def _square(width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the largest centred square."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


# -- JPEG and PNG ------------------------------------------------------------------------------------------------------


def _broken(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: cannot be decoded ({one_line(error)}); remove it or get it again")


def _open_picture(raw: bytes, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(raw), formats=("JPEG", "PNG"))
    except Image.UnidentifiedImageError:
        raise DataError(
            f"{where}: not a JPEG or PNG image, whatever its name says; remove it or get it again"
        ) from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise _broken(where, error) from None


def _mode(image: Image.Image, where: str) -> str:
    mode = _PICTURE_MODES.get(image.mode, image.mode)
    if mode not in _PICTURE_BANDS:
        raise DataError(f"{where}: pixel format {image.mode} is not read; save it as 8-bit RGB or 16-bit grey")
    return mode


def _decode_picture(raw: bytes, where: str, form: Form, out: np.ndarray) -> None:
    image = _open_picture(raw, where)
    if image.size != (form.size, form.size):
        if form.exact:
            raise _misfit(where, *image.size, form)
        if image.width * image.height > MOST_PIXELS:
            raise DataError(f"{where}: {image.width} x {image.height} pixels is a whole scene; cut it into tiles first")
    try:
        mode = _mode(image, where)
        if mode != form.mode and (mode, form.mode) != ("L", "RGB"):
            kinds = {"RGB": "in colour", "L": "8-bit grey", "I;16": "16-bit grey"}
            raise DataError(
                f"{where}: is {kinds[mode]} but the first image is {kinds[form.mode]}; save all in one format"
            )
        if image.mode != form.mode:
            image = image.convert(form.mode)
        if image.size != (form.size, form.size):
            left, top, side = _square(*image.size)
            if image.width != image.height:
                image = image.crop((left, top, left + side, top + side))
            # 16-bit grey has no antialiased filter in Pillow: take the nearest pixel there.
            grey16 = form.mode == "I;16"
            image = image.resize(
                (form.size, form.size), Image.Resampling.NEAREST if grey16 else Image.Resampling.BILINEAR
            )
        # tobytes is four times as fast as numpy's array protocol on small images.
        flat = np.frombuffer(image.tobytes(), dtype=np.dtype(form.dtype).newbyteorder("<"))
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise _broken(where, error) from None
    pixels = flat.reshape(form.size, form.size, -1)
    for band, pick in enumerate(form.picks):
        out[band] = pixels[:, :, pick]


# -- GeoTIFF -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _rasterio():
    try:
        import rasterio
        import rasterio.errors
        import rasterio.io
        import rasterio.warp
    except ImportError:
        return None
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def _open_tiff(raw: bytes, where: str):
    rasterio = _rasterio()
    if rasterio is None:
        raise DataError(f"{where}: GeoTIFFs need rasterio; install it with: pip install 'ssl-for-earth[geo]'")
    try:
        # The handle keeps its memory file alive and closes it with itself.
        return rasterio.io.MemoryFile(raw).open(driver="GTiff")
    except (rasterio.errors.RasterioError, ValueError) as error:
        raise DataError(f"{where}: not a GeoTIFF that can be read ({one_line(error)}); get it again") from None


def _decode_tiff(raw: bytes, where: str, form: Form, out: np.ndarray) -> Place | None:
    rasterio = _rasterio()
    with _open_tiff(raw, where) as source:
        if (source.width, source.height) != (form.size, form.size) and form.exact:
            raise _misfit(where, source.width, source.height, form)
        if source.count <= max(form.picks):
            raise DataError(
                f"{where}: {source.count} bands, but the first image has more; remove it or pick other bands"
            )
        left, top, side = _square(source.width, source.height)
        shrinks = side > form.size
        try:
            pixels = source.read(
                indexes=[pick + 1 for pick in form.picks],
                window=rasterio.windows.Window(left, top, side, side),
                out_shape=form.shape,
                resampling=rasterio.enums.Resampling.average if shrinks else rasterio.enums.Resampling.bilinear,
            )
        except (rasterio.errors.RasterioError, ValueError) as error:
            raise _broken(where, error) from None
        if str(pixels.dtype) != form.dtype and not np.can_cast(pixels.dtype, form.dtype, casting="same_kind"):
            raise DataError(f"{where}: holds {pixels.dtype} but the first image {form.dtype}; convert all to one type")
        # NaN is how float rasters mark pixels without data; a network must not meet it.
        out[...] = np.nan_to_num(pixels, copy=False) if pixels.dtype.kind == "f" else pixels
        if source.crs is None:
            return None
        t = source.transform
        across, down = source.width / 2, source.height / 2
        return Place(source.crs.to_wkt(), t.a * across + t.b * down + t.c, t.d * across + t.e * down + t.f)
