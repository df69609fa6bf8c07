"""Everything before the step: gathering a batch, making its views, and how that grows."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from scripts.benchmark import loading, ours, work
from scripts.benchmark.pairs import exponent, in_turn, quartiles
from scripts.benchmark.settings import Settings, compared, wanted
from scripts.comparisons import Comparison, Fact

Rows = Iterator[Comparison | Fact]


def data(s: Settings) -> Rows:
    """Gathering shuffled batches of stored images: an index into an array, beside a loader asked for each sample."""
    for bands in s.bands:
        images = s.made(bands)
        fields = ours.data_of(images)
        if s.device.type == "cuda":
            fields = fields.to(s.device)
        batches = len(images) // s.batch

        def gather(fields=fields, batches=batches):
            for index in torch.randperm(len(fields)).split(s.batch)[:batches]:
                fields.take("image", index)

        loader = loading.loader(images, s.batch, workers=s.workers)

        def load(loader=loader):
            for batch in loader:
                batch.to(s.device)

        times = in_turn({"ours": s.clock.timed(gather, 20), "theirs": s.clock.timed(load)}, s.rounds, 2)
        scaled = {name: [t / batches for t in found] for name, found in times.items()}
        case = f"shuffled batches, {bands} bands"
        yield compared(s, "data", case, "torch DataLoader", scaled["ours"], scaled["theirs"])


def views(s: Settings, kinds: tuple[str, ...] = ("1", "2", "2+6")) -> Rows:
    """Making views, each peer beside ours with exactly its operations."""
    index = torch.arange(s.batch)
    for bands in s.bands:
        images = s.made(bands)
        for kind in kinds:
            crops = work.crops(kind, s.size)
            for peer in s.peers:
                pipelines = {}
                with s.attempt(peer, f"{kind} views of {bands} bands"):
                    pipelines = peer.load().pipelines(images, crops, wanted(kind, bands), s.device)
                    for pipeline in pipelines.values():
                        pipeline.make(index)
                for name, pipeline in pipelines.items():
                    mine = ours.pipeline(images, crops, pipeline.operations, s.device)
                    jobs = {
                        "ours": s.clock.timed(lambda make=mine.make: make(index), 2),
                        "theirs": s.clock.timed(lambda make=pipeline.make: [v.to(s.device) for v in make(index)]),
                    }
                    times = in_turn(jobs, s.rounds, 2)
                    more = {"operations": pipeline.operations, "note": pipeline.note, "equal": pipeline.equal}
                    case = f"{kind} view{'' if kind == '1' else 's'}, {bands} bands"
                    yield compared(s, "views", case, name, times["ours"], times["theirs"], **more)


def scaling(s: Settings) -> Rows:
    """How the time of our views grows with images, bands and crops: exponents of a power law, the larger of two."""
    small = max(8, s.batch // 4)
    ladder = {
        "images": [(small * f, 3, 2) for f in (1, 2, 4, 8)],
        "bands": [(s.batch, b, 2) for b in (3, 6, 13, 26)],
        "crops": [(s.batch, 3, c) for c in (1, 2, 4, 8)],
    }
    for what, sizes in ladder.items():
        jobs, axis = {}, {"images": 0, "bands": 1, "crops": 2}[what]
        for size in sizes:
            count, bands, crops = size
            images = work.make_images(count, bands, s.size)
            make = ours.pipeline(images, [work.Crop(s.size, work.SCALE)] * crops, work.MANY_BANDS, s.device).make
            index = torch.arange(count)
            jobs[size] = s.clock.timed(lambda make=make, index=index: make(index), 2)
        times = {size: quartiles(found)[1] for size, found in in_turn(jobs, s.rounds, 2).items()}
        lengths = [size[axis] for size in sizes]
        seconds = [times[size] for size in sizes]
        # A fixed cost makes small sizes look better than linear; the last step shows where it is heading.
        whole, last = exponent(lengths, seconds), exponent(lengths[-2:], seconds[-2:])
        steps = ", ".join(f"{n}: {t * 1e3:.3g} ms" for n, t in zip(lengths, seconds))
        note = f"{whole:.2f} over all, {last:.2f} at the end; {steps}"
        yield Fact("scaling", f"views, time against {what}", max(whole, last), "exponent", note)
