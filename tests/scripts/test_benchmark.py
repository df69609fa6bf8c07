"""The benchmark's arithmetic and pairing, its file, and what it does without a peer. Times are not tested."""

from __future__ import annotations

import ast
import json
import mmap
import statistics
from pathlib import Path

import pytest
import torch

from scripts.benchmark import __main__ as command
from scripts.benchmark import arithmetic, clock, memory, ours, parts, peers, show, work
from scripts.benchmark.pairs import Turns, exponent, in_turn, quartiles, ratio
from scripts.benchmark.settings import Settings, trained_beside, wanted
from scripts.comparisons import Comparison, Fact, NotABenchmark, Result, as_json, bars_of, closest, read

CPU = torch.device("cpu")


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_within_each_round():
    # The machine is ten times slower in the second round: the ratio of the medians would be 4, not 2.
    found = ratio(ours=[1.0, 10.0, 1.0, 3.0], theirs=[2.0, 20.0, 2.0, 6.0])
    assert (found.low, found.median, found.high) == (2.0, 2.0, 2.0)


def test_quartiles_of_a_ratio():
    found = ratio([1.0] * 5, [5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("mine, theirs", [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_what_is_not_a_pair_of_times_is_refused(mine, theirs):
    with pytest.raises(ValueError):
        ratio(mine, theirs)


def test_everybody_works_once_a_round_and_nobody_always_second():
    worked = []

    def job(name):
        return lambda: worked.append(name) or float(len(worked))

    times = in_turn({"a": job("a"), "b": job("b")}, rounds=3, warm_up=1)
    assert worked == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert times == {"a": [4.0, 5.0, 8.0], "b": [3.0, 6.0, 7.0]}  # the first round is not among them


class Watch:
    """A clock that work moves by hand."""

    def __init__(self):
        self.time = 0.0

    def work(self, seconds: float):
        def job() -> float:
            self.time += seconds
            return seconds

        return job


def test_a_loop_is_not_charged_with_what_the_others_do_in_between():
    watch = Watch()
    turns = Turns(lambda: watch.time, {"peer": watch.work(5.0)}, rounds=2, warm_up=1, block=2)
    for _ in range(turns.steps):
        watch.time += 1.0  # the loop's own step
        turns.after_step()
    assert turns.steps == 6
    assert turns.times == {"ours": [1.0, 1.0], "peer": [5.0, 5.0]}


def test_exponent_of_a_power_law():
    sizes = [1.0, 2.0, 4.0, 8.0]
    assert exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [0.5 * s for s in sizes]) == pytest.approx(1.0)
    assert exponent(sizes, [1 + s for s in sizes]) < 0.9  # a fixed cost hides the growth
    with pytest.raises(ValueError):
        exponent([1.0], [1.0])


def test_a_timed_job_gives_the_seconds_of_one(monkeypatch):
    done, watch = [], Watch()
    monkeypatch.setattr(clock.time, "process_time", lambda: watch.time)

    def once():
        done.append(1)
        watch.time += 0.5

    assert clock.Clock(CPU).timed(once, times=4)() == 0.5
    assert len(done) == 4


# -- the work --------------------------------------------------------------------------------------------------------


def test_views_have_exactly_the_named_operations_on():
    crop = work.Crop(32, work.SCALE)
    plain = ours.view(crop, work.GEOMETRY)
    assert plain.flip and not plain.transpose
    assert (plain.colour, plain.grey, plain.blur) == (0.0, 0.0, 0.0)
    full = ours.view(crop, work.RGB)
    assert full.transpose and min(full.colour, full.brightness, full.contrast, full.saturation, full.grey) > 0
    assert full.blur == work.BLURRED
    many = ours.view(crop, work.MANY_BANDS)
    assert many.saturation == 0 and many.grey == work.GREYED


def test_the_blur_kernel_reaches_three_deviations():
    for size in (32, 64, 224):
        crop = work.Crop(size, work.SCALE)
        assert crop.kernel % 2 == 1
        assert (crop.kernel - 1) / 2 >= 3 * crop.sigma[1] > (crop.kernel - 3) / 2


@pytest.mark.parametrize("bands, kind, count", [(3, "1", 1), (3, "2+6", 8), (13, "2", 2)])
def test_a_peer_and_ours_make_the_same_number_and_shapes(bands, kind, count):
    images = work.make_images(8, bands, 32)
    crops, index = work.crops(kind, 32), torch.arange(4)
    found = peers.PEERS["torchvision"].load().pipelines(images, crops, wanted(kind, bands), CPU)
    assert len(found) == 2
    for pipeline in found.values():
        assert bands == 3 or "contrast" not in pipeline.operations  # it cannot, so ours does not either
        theirs = pipeline.make(index)
        mine = ours.pipeline(images, crops, pipeline.operations, CPU).make(index)
        assert len(mine) == count
        assert [v.shape for v in mine] == [v.shape for v in theirs]
        assert 0.5 < float(mine[0].std() / theirs[0].std()) < 2  # both normalised


def test_images_are_the_same_for_everybody():
    images = work.make_images(4, 13, 32)
    assert torch.equal(images.channels_first, work.make_images(4, 13, 32).channels_first)
    assert torch.equal(torch.from_numpy(images.channels_last).permute(0, 3, 1, 2), images.channels_first)
    assert images.channels_first[:, 0].double().mean().item() == pytest.approx(images.mean[0])


def test_the_step_trains_on_the_given_views_and_others_work_in_between():
    s = Settings(CPU, (), size=32, batch=4, images=8, step_rounds=2)
    images = s.made(3)
    views = ours.pipeline(images, work.crops("2", 32), work.RGB, CPU).make(torch.arange(4))
    seen, worked = [], []

    def other():
        worked.append(torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"))
        return 1.0

    made = ours.build("simclr", "resnet10t", images, views)
    before = made.encoder.net.conv1[0].weight.clone()
    made.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]["x1"]))
    ours.train_for(made, images, 2, 4, "fp32", CPU)
    assert len(seen) == 2 and all(torch.equal(x, views[0]) for x in seen)
    assert not torch.equal(made.encoder.net.conv1[0].weight, before)

    times = trained_beside(s, {"peer": other}, "simclr", "resnet10t", images, views=views, precision="fp32")
    assert worked == [True] * 4  # two rounds and two to warm up, each with gradients and its own precision
    assert times["peer"] == [1.0, 1.0] and len(times["ours"]) == 2 and min(times["ours"]) > 0


def test_the_bare_step_does_what_a_step_does():
    images = work.make_images(8, 3, 32)
    step = ours.bare_step("simclr", "resnet10t", images, 4, "fp32", CPU)
    losses = [float(step()) for _ in range(6)]
    assert len(set(losses)) == 6  # other views and other weights each time
    assert min(losses[3:]) < losses[0]


def test_flops_are_counted():
    a, b = torch.randn(8, 16, requires_grad=True), torch.randn(16, 4)
    assert arithmetic.flops_of(lambda: a @ b) == 2 * 8 * 16 * 4
    assert arithmetic.flops_of(lambda: (a @ b).sum().backward()) == 2 * 2 * 8 * 16 * 4


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux lets a process forget its highest memory")
def test_peak_memory_is_what_was_used_for_a_moment():
    with memory.Peak(CPU) as large, mmap.mmap(-1, 200_000_000) as fresh:  # not from a heap that may hold free blocks
        for page in range(0, len(fresh), mmap.PAGESIZE):
            fresh[page] = 1
    with memory.Peak(CPU) as small:
        pass
    assert large.mb == pytest.approx(200, abs=10)
    assert small.mb < 10


# -- peers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(peers.PEERS, "ghost", peers.Peer("ghost", "ghost", ("no_such_package",), "ghost[all]"))


def test_a_missing_peer_is_named_with_its_remedy(absent):
    found, missing = peers.choose(["torchvision", "ghost", "torchvision"])
    assert [p.name for p in found] == ["torchvision"]
    assert missing == {"ghost": "not installed (pip install ghost[all])"}
    with pytest.raises(peers.UnknownPeer, match=r"unknown peer 'lihgtly'; known are .*lightly"):
        peers.choose(["lihgtly"])


def test_a_peer_that_breaks_costs_its_rows_and_not_the_run():
    s = Settings(CPU, ())
    with s.attempt(peers.PEERS["lightly"], "2 views"):
        raise RuntimeError("moved\nelsewhere")
    assert list(s.failed.values()) == ["RuntimeError: moved"]
    assert "lightly" in next(iter(s.failed))


def test_no_library_is_imported_before_it_is_asked_for():
    """Imports at the top of a peer's module would fail where that library is not installed."""
    modules = [Path(peers.__file__), *Path(peers.__file__).parent.glob("*.py"), Path(command.__file__)]
    libraries = {name for peer in peers.PEERS.values() for name in peer.imports}
    for path in modules:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not libraries & {name.split(".")[0] for name in names}, path.name
    assert len(modules) > 4 and "lightly" in libraries


# -- the file --------------------------------------------------------------------------------------------------------


def row(**changes) -> Comparison:
    values = {
        "part": "views", "case": "2 views, 3 bands", "peer": "near", "unit": "images/core-s", "ours": 300.0,
        "theirs": 100.0, "ratio": 3.0, "low": 2.5, "high": 3.5, "rounds": 5, "operations": ("crop", "flip"),
    }  # fmt: skip
    return Comparison(**{**values, **changes})


def result(*rows: Comparison | Fact, **changes) -> Result:
    made = Result("2026-01-02T03:04:05Z", "abc", "CPU", "cpu", 1, {"torch": "2"}, {"batch": 4}, **changes)
    for one in rows:
        made.add(one)
    return made


def test_a_bar_is_judged_against_the_closest_peer_with_equal_work():
    rows = [row(peer="far", ratio=9.0), row(peer="near", ratio=1.9), row(peer="lesser work", ratio=0.5, equal=False)]
    assert closest(rows)["views", "2 views, 3 bands"].peer == "near"
    (bar,) = bars_of(result(*rows))
    assert (bar.against, bar.wanted, bar.met) == ("near", 2.0, False)


@pytest.mark.parametrize(
    "one, device, wanted",
    [
        (row(case="2 views, 13 bands"), "cpu", 3.0),
        (row(part="step", case="simclr, fp32"), "cpu", 1.1),
        (row(part="step", case="simclr, default (bf16)"), "cpu", 1.7),
        (row(part="step", case="simclr, bf16"), "cpu", None),
        (row(part="end to end"), "cpu", None),
        (row(part="end to end"), "cuda", 3.0),
        (Fact("loop", "added", 0.02, "1"), "cpu", 0.03),
        (Fact("share", "data and 2+6 views", 0.2, "1"), "cuda", 0.25),
        (Fact("share", "data and 2 views", 0.2, "1"), "cpu", None),
    ],
)
def test_which_bar_counts_where(one, device, wanted):
    made = result(one)
    made.device_type = device
    assert [bar.wanted for bar in bars_of(made)] == ([wanted] if wanted else [])


def test_at_most_and_at_least():
    low, high = (bars_of(result(Fact("loop", "added", v, "1")))[0] for v in (0.029, 0.031))
    assert low.met and not high.met


def test_a_file_gives_back_what_was_measured(tmp_path):
    made = result(row(), Fact("loop", "added", 0.0123456789, "1"), absent={"ghost": "not installed"})
    path = tmp_path / "one.json"
    path.write_text(as_json(made))
    again = read(path)
    assert again.comparisons == made.comparisons and again.absent == made.absent
    assert again.facts[0].value == 0.012346  # five digits
    stored = json.loads(path.read_text())
    assert stored["benchmark"] == 1 and stored["bars"][0]["met"] is True


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("device"),
        lambda d: d.update(benchmark=2),
        lambda d: d.update(surplus=1),
        lambda d: d["comparisons"][0].update(ratio="fast"),
        lambda d: d["comparisons"][0].update(ratio=float("nan")),
        lambda d: d["comparisons"][0].pop("peer"),
        lambda d: d.update(comparisons=[1]),
        lambda d: d.update(facts=None),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, change):
    data = json.loads(as_json(result(row())))
    change(data)
    path = tmp_path / "one.json"
    path.write_text(json.dumps(data))
    with pytest.raises(NotABenchmark, match=r"one\.json"):
        read(path)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_and_says_who_is_absent(absent, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(parts, "PARTS", {"views": lambda s: iter([row(), Fact("loop", "added", 0.01, "1")])})
    out, plot = tmp_path / "deep" / "one.json", tmp_path / "one.svg"
    before = torch.get_num_threads()
    assert command.main(["--peers", "ghost", "--quick", "--out", str(out), "--plot", str(plot)]) == 0
    shown = capsys.readouterr()
    assert "ghost: not installed (pip install ghost[all])" in shown.out
    assert "\x1b[" not in shown.out + shown.err  # colours only on a terminal
    kept = read(out)
    assert kept.comparisons == [row()] and kept.absent == {"ghost": "not installed (pip install ghost[all])"}
    assert "<svg" in plot.read_text()
    assert torch.get_num_threads() == before


def test_a_run_that_is_stopped_leaves_what_it_found(absent, monkeypatch, tmp_path, capsys):
    def views(s):
        yield row()
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "PARTS", {"views": views})
    out = tmp_path / "one.json"
    assert command.main(["--peers", "ghost", "--out", str(out)]) == 130
    assert "holds what was found" in capsys.readouterr().err
    assert read(out).comparisons == [row()]


def test_what_is_asked_for_goes_before_what_is_usual(absent):
    def chosen(*words):
        return command.settings_of(command.parser().parse_args(["--peers", "ghost", *words]))[0]

    assert chosen().bands == (3, 13) and chosen().batch == 128
    quick = chosen("--quick", "--bands", "13", "--backbones", "vit_micro", "--methods", "mae")
    assert (quick.bands, quick.methods, quick.batch) == ((13,), ("mae",), command.QUICK["batch"])
    assert quick.pairs() == [("mae", "vit_micro")] and quick.images >= quick.batch


@pytest.mark.parametrize(
    "words, said",
    [
        (["--peers", "nobody"], "unknown peer"),
        (["--workers", "2"], "--workers"),
        (["--methods", "mae", "--backbones", "resnet18"], "needs a transformer"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words, said, capsys):
    assert command.main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_parts_yield_rows_without_any_peer(monkeypatch):
    s = Settings(CPU, (), methods=("mae",), backbones=("vit_micro",), size=32, bands=(3,), batch=8, images=16,
                 rounds=2, step_rounds=1)  # fmt: skip
    monkeypatch.setattr(arithmetic, "peak_matmul", lambda *_: 1e9)
    monkeypatch.setattr("scripts.benchmark.training.peak_matmul", lambda *_: 1e9)
    found = list(parts.run(s, ["data", "views"]))
    assert [(r.part, r.peer) for r in found] == [("data", "torch DataLoader")]
    assert found[0].ratio == pytest.approx(statistics.median([found[0].low, found[0].ratio, found[0].high]))
    assert show.line(found[0]).startswith("data: shuffled batches, 3 bands: ")
