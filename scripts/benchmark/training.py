"""The step, by itself and with everything before it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refimpl.engine.draws import Draws
from scripts.benchmark import loading, ours, work
from scripts.benchmark.arithmetic import flops_of, peak_matmul
from scripts.benchmark.pairs import quartiles
from scripts.benchmark.peers import Peer
from scripts.benchmark.settings import VIEWS, Settings, compared, trained_beside, wanted
from scripts.benchmark.work import Crop, Images
from scripts.comparisons import Comparison, Fact

Rows = Iterator[Comparison | Fact]


def fixed_views(s: Settings, images: Images, method: str) -> list[Tensor]:
    kind = VIEWS[method]
    make = ours.pipeline(images, work.crops(kind, s.size), wanted(kind, images.bands), s.device).make
    return make(torch.arange(s.batch))


def trainer(module: nn.Module, device: torch.device, bf16: bool):
    """A step as most training loops write it: views -> nothing, with torch's AdamW as it comes."""
    module.to(device).train()
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)

    def step(views: list[Tensor]) -> None:
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = module(views)
        loss.backward()
        optimiser.step()

    return step


def peer_steps(s: Settings, method: str, backbone: str, images: Images, bf16: bool) -> dict:
    """Peer's name -> its step, for those that have one."""
    found = {}
    for peer in s.peers:
        torch.manual_seed(0)
        with s.attempt(peer, f"step of {method}, {backbone}"):
            net, width = ours.backbone(backbone, images)
            module = peer.load().step(method, net, width, images)
            if module is not None:
                run = trainer(module, s.device, bf16)
                run([torch.randn(8, images.bands, s.size, s.size, device=s.device)] * int(VIEWS[method]))
                found[peer.name] = run
    return found


def step(s: Settings) -> Rows:
    """Forward, loss, backward, optimiser, on views made beforehand: in fp32, in bf16, and each by its defaults.

    With it, how much of the machine's arithmetic each uses by its defaults.
    """
    images = s.made(s.bands[0])
    default = ours.precision_name("auto", s.device)
    peaks = {name: peak_matmul(s.clock, name) for name in dict.fromkeys(("fp32", default))}
    for name, peak in peaks.items():
        unit = "FLOP/s" if s.device.type == "cuda" else "FLOP/core-s"
        yield Fact("arithmetic", f"peak of a matrix product, {name}", peak, unit)
    # In equal precision what differs is the step; by default, also what each chooses (all peers: fp32).
    modes = {"fp32": ("fp32", False), "bf16": ("bf16", True), f"default ({default})": ("auto", False)}
    if default == "fp32":
        modes.pop("bf16")
    for method, backbone in s.pairs():
        prepared = fixed_views(s, images, method)
        plain = [view.contiguous() for view in prepared]  # the layout in which the peers' views come
        for mode, (mine, theirs) in modes.items():
            steps = peer_steps(s, method, backbone, images, theirs)
            others = {n: s.clock.timed(lambda run=run, v=plain: run(v), s.block) for n, run in steps.items()}
            times = trained_beside(s, others, method, backbone, images, views=prepared, precision=mine)
            for name in others:
                case = f"{method}, {backbone}, {images.bands} bands, {mode}"
                yield compared(s, "step", case, name, times["ours"], times[name])
        # `times` and `steps` are those of the last mode, everybody's default.
        made = ours.build(method, backbone, images, prepared).to(s.device).train()
        batch = made.prepare({}, Draws(0, 0, torch.arange(s.batch, device=s.device)))
        counts = {"ours": flops_of(lambda made=made, batch=batch: made(batch).loss.backward())}
        counts |= {name: flops_of(lambda run=run, v=plain: run(v)) for name, run in steps.items()}
        for name, count in counts.items():
            precision = default if name == "ours" else "fp32"
            used = quartiles([count / t / peaks[precision] for t in times[name]])[1]
            what = f"{method}, {backbone}: {name}, share of the {precision} peak"
            yield Fact("arithmetic", what, used, "1", f"{count / 1e9:.1f} GFLOP a step")


def end_to_end(s: Settings) -> Rows:
    """Images a second from stored images to trained weights, each by its own defaults."""
    for bands in s.bands:
        images = s.made(bands)
        for method, backbone in s.pairs():
            crops, operations = work.crops(VIEWS[method], s.size), wanted(VIEWS[method], bands)
            others = {}
            for name, run in peer_steps(s, method, backbone, images, bf16=False).items():
                peer = next(p for p in s.peers if p.name == name)
                with s.attempt(peer, f"end to end, {method}, {backbone}"):
                    whole = whole_step(s, peer, run, images, crops, operations)
                    if whole is not None:
                        whole()
                        others[name] = s.clock.timed(whole, s.block)
            times = trained_beside(s, others, method, backbone, images)
            case = f"{method}, {backbone}, {bands} bands"
            for name in others:
                yield compared(s, "end to end", case, name, times["ours"], times[name], operations=operations)
            if not others:
                speed = s.batch / quartiles(times["ours"])[1]
                yield Fact("end to end", case, speed, s.unit, "ours; no peer that was asked can do this")


def whole_step(s: Settings, peer: Peer, run, images: Images, crops: list[Crop], operations: tuple[str, ...]):
    """Loader, views and step of one peer as one piece of work."""
    module = peer.load()
    make = module.sample(images, crops, operations)
    if make is None:
        return None
    batches = loading.endless(loading.loader(images, s.batch, make, s.workers))
    to_views = module.on_device(images, crops, operations, s.device)
    return lambda: run(to_views(next(batches)))


def share(s: Settings) -> Rows:
    """What part of a step's time its data and views are."""
    images, (method, backbone) = s.made(s.bands[0]), s.pairs()[0]
    index, fields = torch.arange(s.batch), ours.data_of(images)
    others = {}
    for kind in ("2", "2+6"):
        make = ours.pipeline(images, work.crops(kind, s.size), wanted(kind, images.bands), s.device).make
        others[kind] = s.clock.timed(lambda make=make: (fields.take("image", index), make(index)), 2 * s.block)
    times = trained_beside(s, others, method, backbone, images, views=fixed_views(s, images, method))
    for kind in others:
        # A step on 2 large crops and 6 with a quarter of the pixels is 1.75 times the work of two views.
        factor = 1.0 if kind == "2" else 1.75
        found = quartiles([v / (o * factor) for o, v in zip(times["ours"], times[kind])])[1]
        note = "" if kind == "2" else "of 1.75 times the step of two views, which is what 8 crops hold in pixels"
        yield Fact("share", f"data and {kind} views, of the step of {method}, {backbone}", found, "1", note)


def loop(s: Settings) -> Rows:
    """What the engine's loop adds to the same step with nothing round it, as a share of that step."""
    method, backbone = s.pairs()[0]
    batch = max(8, s.batch // 4)  # a short step, in which the loop weighs more
    images = s.made(s.bands[0])
    bare = ours.bare_step(method, backbone, images, batch, "fp32", s.device)
    others = {"bare": s.clock.timed(bare, s.block)}
    times = trained_beside(s, others, method, backbone, images, precision="fp32", batch=batch, rounds=4 * s.step_rounds)
    mine, alone = times["ours"], times["bare"]
    low, middle, high = quartiles([m / b - 1 for m, b in zip(mine, alone)])
    added = (quartiles(mine)[1] - quartiles(alone)[1]) * 1e3
    note = f"quartiles {low:.1%} to {high:.1%}, {added:+.1f} ms on {quartiles(alone)[1] * 1e3:.0f} ms, fp32"
    yield Fact("loop", f"added to a bare step of {method}, {backbone}, batch {batch}", middle, "1", note)
