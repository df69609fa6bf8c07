"""A GeoTIFF scene of any size becomes a GeoTIFF of features, one band per feature or per principal component.

A window of the encoder's size moves over the scene by `stride` pixels; each of its stops is one *cell* of the map. The
cell is as wide as the stride and lies round the window's centre, so the map has the scene's coordinates. Where the last
window sticks out of the scene, the rest counts as pixels without data. Pixels without data get the mean of their band,
which is zero to the network; a cell whose window has fewer data than `MOST_EMPTY` allows is itself without data (NaN).

The scene is read and the map is written piece by piece. A window's features do not depend on the pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refimpl.data.bands import Bands
from refimpl.data.dataset import DataError
from refimpl.data.store import new_array
from refimpl.data.words import one_line
from refimpl.engine.errors import OutputError
from refimpl.engine.progress import Bar, say
from refimpl.studies.embed_files import Embedder, match_bands, odd_units, one_ahead
from refimpl.studies.whole import refuse_too_large, whole_file

MOST_EMPTY = 0.5  # share of a window's pixels that may be without data
PIECE_BYTES = 32 << 20  # of the scene, as float32, that are held at a time (twice: one piece is read ahead)
CACHE_BYTES = 128 << 20  # of decoded blocks that GDAL keeps, of the scene and of the map together
_READ = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"}


@dataclass(frozen=True)
class Grid:
    """The cells of a scene of `height` x `width` pixels: windows of `size` pixels, `stride` pixels apart."""

    height: int
    width: int
    size: int
    stride: int

    @property
    def rows(self) -> int:
        return -(-(self.height - self.size) // self.stride) + 1

    @property
    def columns(self) -> int:
        return -(-(self.width - self.size) // self.stride) + 1

    def transform(self, scene):
        """The map's affine transform from the scene's: a cell's centre is its window's centre."""
        margin, s, t = (self.size - self.stride) / 2, self.stride, scene
        corner = t.a * margin + t.b * margin + t.c, t.d * margin + t.e * margin + t.f
        return type(scene)(t.a * s, t.b * s, corner[0], t.d * s, t.e * s, corner[1])

    def pixels(self, cells: int) -> int:
        """Side of the area that `cells` windows in a row cover."""
        return (cells - 1) * self.stride + self.size

    def pieces(self, bands: int, striped: bool) -> Iterator[Piece]:
        """Rectangles of cells, row by row, each over at most `PIECE_BYTES` of the scene (but at least one window).

        Square for a scene stored in tiles; as wide as may be for one stored in lines, where a narrow piece would cost
        as much reading as a whole line.
        """
        budget = PIECE_BYTES // (5 * bands)  # pixels; four bytes of a number and one of its mask
        side = self.size if striped else max(self.size, int(budget**0.5))
        high = (side - self.size) // self.stride + 1
        wide = max(0, budget // self.pixels(high) - self.size) // self.stride + 1
        for row in range(0, self.rows, high):
            for column in range(0, self.columns, wide):
                yield Piece(row, column, min(high, self.rows - row), min(wide, self.columns - column))


@dataclass(frozen=True)
class Piece:
    """Cells that are computed together: the first one's row and column, and how many."""

    row: int
    column: int
    rows: int
    columns: int


def embed_scene(
    embedder: Embedder,
    source: Path,
    out: Path,
    *,
    bands: Bands = None,
    stride: int | None = None,
    overlap: int | None = None,
    components: int | None = None,
    nodata: float | None = None,
    quiet: bool = False,
) -> Path:
    """Writes the map of a scene to `out`: float32, NaN where there are no data, metadata under the tag `refimpl`.

    Args:
        bands: which bands of the scene the run's bands are, where their names do not tell.
        stride: pixels from one window to the next; default: the run's image size.
        overlap: pixels that neighbouring windows share, size - stride, instead of it.
        components: write that many principal components of the features of this scene instead of the features.
        nodata: a number that marks pixels without data besides those that the file marks itself.
    Raises:
        DataError, OutputError: one line with the remedy.
    """
    encoder = embedder.encoder
    with _opened(source, nodata) as scene:
        grid = Grid(scene.height, scene.width, encoder.input.size, _stride(encoder.input.size, stride, overlap))
        if min(scene.height, scene.width) < grid.size:
            raise DataError(
                f"{source.name}: {scene.width} x {scene.height} pixels, smaller than one window of {grid.size}; "
                "take a larger scene or a run on smaller images"
            )
        picks = match_bands(_band_names(scene), encoder.input.bands, bands, source.name)
        if components is not None and not 1 <= components <= encoder.width:
            raise DataError(
                f"--components {components}: must lie between 1 and {encoder.width}, the number of features"
            )
        count = components or encoder.width
        cells = grid.rows * grid.columns
        scratch_bytes = cells * encoder.width * 4 if components else 0
        refuse_too_large(
            out, cells * count * 4 + scratch_bytes, "take a larger --stride, fewer --components or another disk"
        )
        about = {
            **embedder.facts,
            "input": {"name": source.name, "bands": [_band_names(scene)[n] for n in picks]},
            "window": grid.size,
            "stride": grid.stride,
        }
        with whole_file(out) as part:
            computed = _computed(embedder, source.name, scene, grid, picks, quiet)
            if components is None:
                with _map(part, scene, grid, count) as target:
                    for piece, features in computed:
                        _write(target, piece, features)
                    _describe(target, about, "feature")
            else:
                scratch = part.with_name(f"{part.name}.features")
                try:
                    _write_components(part, scratch, computed, scene, grid, components, about)
                finally:
                    scratch.unlink(missing_ok=True)
            # GDAL may keep a failed last write to itself.
            if part.stat().st_size < cells * count * 4:
                raise OutputError(f"{out}: could not be written whole; is the disk full? choose another --out")
    if not quiet:
        say(f"{out}: {grid.columns} x {grid.rows} cells of {grid.stride} pixels, {count} bands")
    return out


def _stride(size: int, stride: int | None, overlap: int | None) -> int:
    if stride is not None and overlap is not None:
        raise DataError("--stride and --overlap say the same thing; give one of them")
    if overlap is not None:
        if not 0 <= overlap < size:
            raise DataError(f"--overlap {overlap}: must lie between 0 and {size - 1}, for windows of {size} pixels")
        return size - overlap
    if stride is not None and not 1 <= stride <= size:
        raise DataError(f"--stride {stride}: must lie between 1 and {size}, the side of a window")
    return stride or size


# -- reading -----------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(source: Path, nodata: float | None):
    """The open scene, with its `nodata` set where the person gave one."""
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError:
        raise DataError(
            f"{source.name}: GeoTIFFs need rasterio; install it with: pip install 'ssl-for-earth[geo]'"
        ) from None
    import warnings

    if not source.exists():
        raise DataError(f"{source}: no such file; check the path")
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED=False):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            scene = rasterio.open(source, driver="GTiff")
        except RasterioError as error:
            raise DataError(
                f"{source.name}: not a GeoTIFF that can be read ({one_line(error)}); get it again"
            ) from None
        with scene:
            if not set(scene.dtypes) <= _READ:
                raise DataError(f"{source.name}: holds {scene.dtypes[0]} numbers; convert it to uint16 or float32")
            yield _Scene(scene, source.name, nodata)


class _Scene:
    """An open scene whose windows come as float32 with a mask of the pixels that hold data."""

    def __init__(self, file, name: str, nodata: float | None):
        self.file, self.name, self.nodata = file, name, nodata
        self.height, self.width = file.height, file.width
        self.striped = file.block_shapes[0][1] == file.width
        everywhere = all(flags == [_all_valid()] for flags in file.mask_flag_enums)
        self.masked = not everywhere
        self.float = any(np.dtype(kind).kind == "f" for kind in file.dtypes)

    def read(self, picks: tuple[int, ...], row: int, column: int, height: int, width: int):
        """(C, height, width) float32 and (height, width) bool, of a rectangle within the scene."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        where = {"indexes": [pick + 1 for pick in picks], "window": Window(column, row, width, height)}
        try:
            stored = self.file.read(**where)
            holds = self.file.read_masks(**where).all(axis=0) if self.masked else np.ones((height, width), bool)
        except (RasterioError, ValueError) as error:
            raise DataError(
                f"{self.name}: damaged at row {row}, column {column} ({one_line(error)}); get it again"
            ) from None
        if self.nodata is not None:
            holds &= (stored != self.nodata).all(axis=0)
        stored = stored.astype(np.float32, copy=False)
        if self.float:
            holds &= np.isfinite(stored).all(axis=0)
        return stored, holds


def _all_valid():
    from rasterio.enums import MaskFlags

    return MaskFlags.all_valid


def _band_names(scene: _Scene) -> tuple[str, ...]:
    """What the file calls its bands: descriptions, else colours, else numbers from 1."""
    for names in (scene.file.descriptions, [colour.name for colour in scene.file.colorinterp]):
        if all(names) and len(set(names)) == len(names) and "undefined" not in names:
            return tuple(names)
    return tuple(str(n + 1) for n in range(scene.file.count))


def read_piece(scene: _Scene, grid: Grid, piece: Piece, picks: tuple[int, ...], fill: np.ndarray):
    """Everything that the windows of a piece see.

    Args:
        fill: (C,) numbers that pixels without data get.
    Returns:
        stored: (C, h, w) float32, and holds: (h, w) bool; beyond the scene's edge nothing holds data.
    """
    row, column = piece.row * grid.stride, piece.column * grid.stride
    height, width = grid.pixels(piece.rows), grid.pixels(piece.columns)
    inner_height, inner_width = min(height, grid.height - row), min(width, grid.width - column)
    stored, holds = scene.read(picks, row, column, inner_height, inner_width)
    if (inner_height, inner_width) != (height, width):
        rest = ((0, height - inner_height), (0, width - inner_width))
        stored, holds = np.pad(stored, ((0, 0), *rest)), np.pad(holds, rest)
    if not holds.all():
        for band, number in zip(stored, fill):
            band[~holds] = number
    return stored, holds


# -- computing ---------------------------------------------------------------------------------------------------------


def _computed(
    embedder: Embedder, name: str, scene: _Scene, grid: Grid, picks: tuple[int, ...], quiet: bool
) -> Iterator[tuple[Piece, np.ndarray]]:
    """(piece, its features (rows, columns, width) with NaN where there are no data), in order."""
    fill = np.array(embedder.encoder.input.mean, np.float32)

    def read():
        for piece in grid.pieces(len(picks), scene.striped):
            yield piece, *read_piece(scene, grid, piece, picks, fill)

    found = warned = False
    with Bar(f"embedding {name}", grid.rows * grid.columns, quiet=quiet) as bar:
        for piece, stored, holds in one_ahead(read()):
            if not warned and holds.any() and (said := odd_units(embedder.encoder, stored[:, holds].T)):
                say(f"warning: {said}", style="yellow")
            warned = warned or bool(holds.any())
            features = embed_piece(embedder, grid, piece, stored, holds)
            found = found or bool(np.isfinite(features).any())
            yield piece, features
            bar.advance(steps=piece.rows * piece.columns)
    if not found:
        raise DataError(f"{name}: no window holds enough data; is the right number marked as nodata?")


def embed_piece(embedder: Embedder, grid: Grid, piece: Piece, stored: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """Features (rows, columns, width) of a piece's windows, of which at most `embedder.batch` are copied at a time."""
    size, stride = grid.size, grid.stride
    windows = np.lib.stride_tricks.sliding_window_view(stored, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    rows, columns = np.nonzero(_share(holds, size)[::stride, ::stride] >= 1 - MOST_EMPTY)
    features = np.full((piece.rows, piece.columns, embedder.encoder.width), np.nan, np.float32)
    batches = -(-len(rows) // embedder.batch)
    for chosen in zip(np.array_split(rows, batches), np.array_split(columns, batches)) if batches else ():
        batch = windows[:, chosen[0], chosen[1]].swapaxes(0, 1)  # a copy, (n, C, size, size)
        if embedder.method.needs[0] == "spectrum":
            batch = batch[:, :, 0, 0]
        features[chosen] = embedder(np.ascontiguousarray(batch))
    return features


def _share(holds: np.ndarray, size: int) -> np.ndarray:
    """Share of pixels with data in the window that begins at each pixel, (h - size + 1, w - size + 1)."""
    if holds.all():
        return np.ones([side - size + 1 for side in holds.shape], np.float32)
    sums = np.pad(holds, ((1, 0), (1, 0))).astype(np.int32).cumsum(0, np.int32).cumsum(1, np.int32)
    counts = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return counts / np.float32(size * size)


# -- writing -----------------------------------------------------------------------------------------------------------


@contextmanager
def _map(path: Path, scene: _Scene, grid: Grid, count: int):
    """The map, open for writing. Blocks are not compressed: features hardly shrink, and each is written in parts."""
    import rasterio

    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64} if grid.columns > 256 else {}
    about = {"count": count, "height": grid.rows, "width": grid.columns, "dtype": "float32", "nodata": np.nan}
    where = {"crs": scene.file.crs, "transform": grid.transform(scene.file.transform)}
    form = {"driver": "GTiff", "interleave": "band", "photometric": "MINISBLACK", "BIGTIFF": "IF_SAFER"}
    try:
        with rasterio.open(path, "w", **about, **where, **form, **tiles) as target:
            yield target
    except rasterio.errors.RasterioError as error:
        raise OutputError(f"the map cannot be written ({one_line(error)}); is the disk full?") from None


def _write(target, piece: Piece, features: np.ndarray) -> None:
    from rasterio.windows import Window

    window = Window(piece.column, piece.row, piece.columns, piece.rows)
    target.write(np.ascontiguousarray(features.transpose(2, 0, 1)), window=window)


def _describe(target, about: dict, band: str) -> None:
    target.update_tags(refimpl=json.dumps(about))
    target.descriptions = [f"{band} {n + 1}" for n in range(target.count)]


def _write_components(
    part: Path, scratch: Path, computed, scene: _Scene, grid: Grid, components: int, about: dict
) -> None:
    """Features go to a scratch file while their moments are summed; then each row is projected and written."""
    width = about["features"]
    kept = new_array(scratch, (grid.rows, grid.columns, width), "float32")
    moments = Moments(width)
    for piece, features in computed:
        kept[piece.row : piece.row + piece.rows, piece.column : piece.column + piece.columns] = features
        moments.add(features[np.isfinite(features[..., 0])])
    mean, axes, shares = moments.components(components)
    about["components"] = {"of": "features of this scene", "share_of_variance": [round(float(s), 4) for s in shares]}
    with _map(part, scene, grid, components) as target:
        for row in range(grid.rows):
            _write(target, Piece(row, 0, 1, grid.columns), ((kept[row] - mean) @ axes).astype(np.float32)[None])
        _describe(target, about, "component")


class Moments:
    """Mean and covariance of vectors that come in parts, in float64 about the first of them."""

    def __init__(self, width: int):
        self.count, self.origin = 0, np.zeros(width)
        self.sum, self.products = np.zeros(width), np.zeros((width, width))

    def add(self, features: np.ndarray) -> None:
        """features: (n, width), finite."""
        if self.count == 0 and len(features):
            self.origin = features[0].astype(np.float64)
        centred = features - self.origin
        self.count += len(features)
        self.sum += centred.sum(0)
        self.products += centred.T @ centred

    def components(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """mean (width,), axes (width, count) by falling variance, their shares of all variance (count,).

        The sign of an axis is arbitrary; its largest entry is made positive, so that the same scene gives the same map.
        """
        mean = self.sum / self.count
        values, vectors = np.linalg.eigh(self.products / self.count - np.outer(mean, mean))
        axes, values = vectors[:, ::-1][:, :count], values[::-1].clip(min=0)
        signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(count)])
        return self.origin + mean, axes * signs, values[:count] / max(values.sum(), 1e-300)
