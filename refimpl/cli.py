"""The command line: list, show, run, evaluate, publish, export, embed, data, verify.

Only commands that compute import torch.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import signal
import sys

from refimpl import registry

EXAMPLES = """examples:
  python -m refimpl list
  python -m refimpl run simclr --smoke
  python -m refimpl run simclr --data eurosat --backbone resnet50 --epochs 100
  python -m refimpl run mae --data my_images/ --set mask_ratio=0.6 --out runs/mine
  torchrun --nproc-per-node 2 -m refimpl run simclr --data synthetic
"""


class _Parser(argparse.ArgumentParser):
    """argparse that answers a mistyped command or option with the nearest known one, in one line."""

    def error(self, message: str):
        word = message.split("'")[1] if message.startswith("argument command: invalid choice") else ""
        if word:
            message = f"unknown command {word!r}{_near(word, COMMANDS)}"
        elif message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            known = [option for action in self._actions for option in action.option_strings]
            message = f"unknown option {word!r}{_near(word, known)}"
        self.exit(2, f"{self.prog}: {message}\n")

    def parse_known_args(self, args=None, namespace=None):
        # Options of a command are reported by that command's own parser, which knows them.
        namespace, rest = super().parse_known_args(args, namespace)
        if rest and self._subparsers is None:
            self.error("unrecognized arguments: " + " ".join(rest))
        return namespace, rest


def _near(word: str, known) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {' or '.join(found)}?" if found else f"; known are {', '.join(known)}"


def _settings(pairs: list[str]) -> dict[str, str]:
    from refimpl.studies.build import SettingError

    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {pair}: write it as key=value, such as --set temperature=0.2")
        settings[key] = value
    return settings


def _list(args) -> int:
    entries = registry.methods().values()
    if args.json:
        keys = ("name", "family", "title", "needs", "backbone", "protocol", "lines", "command")
        rows = [{key: getattr(entry, key) for key in keys} for entry in entries]
        print(json.dumps(rows, indent=1))
        return 0
    widest = max(len(entry.name) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{widest}}  {entry.family:<16}  {entry.title}")
    return 0


def _show(args) -> int:
    entry = registry.find(args.name)
    from refimpl.studies.build import hyper_parameters, method_class

    cls = method_class(args.name)
    print(entry.doc.strip())
    print(f"\nfile      refimpl/methods/{entry.family}/{entry.name}.py ({entry.lines} lines)")
    print(f"needs     {', '.join(entry.needs)}")
    print(f"backbone  {entry.backbone}")
    print(f"judged by {entry.protocol}")
    print(f"command   {entry.command}")
    for name, settings in cls.presets.items():
        print(f"preset    {name}: {', '.join(f'{key}={value}' for key, value in settings.items())}")
    print("\nsettings (--set key=value)")
    for group in (hyper_parameters(cls), vars(cls.recipe)):
        for key, value in group.items():
            print(f"  {key} = {value}")
    return 0


def _run(args) -> int:
    from refimpl.engine.errors import Stopped
    from refimpl.engine.nerve import leaves_on_sigterm
    from refimpl.studies.run import Options, run

    settings = _settings(args.set)
    for option in ("epochs", "batch"):
        if getattr(args, option) is not None:
            settings[option] = getattr(args, option)
    names = ("data", "backbone", "bands", "size", "samples", "smoke", "device", "precision", "compile", "tensorboard")
    names += ("shard", "seed", "out", "resume", "preset")
    options = Options(args.name, **{name: getattr(args, name) for name in names}, settings=settings, quiet=args.quiet)
    try:
        with leaves_on_sigterm():
            run(options)
    except Stopped as stopped:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"refimpl: {stopped}", file=sys.stderr)
        # A scheduler that ends a job with SIGTERM puts it back into its queue when it leaves in good order.
        return 0 if stopped.signal == signal.SIGTERM else 128 + stopped.signal
    return 0


def _evaluate(args) -> int:
    from refimpl.studies.run import evaluate

    evaluate(args.run, data=args.data, device=args.device)
    return 0


def _publish(args) -> int:
    from refimpl.studies.run import publish

    print(publish(args.run))
    return 0


def _export(args) -> int:
    from refimpl.studies.export import export

    export(args.run, args.to, args.out)
    return 0


def _embed(args) -> int:
    from refimpl.studies.embed_files import embed_to_file

    names = ("bands", "size", "stride", "overlap", "components", "nodata", "batch", "device", "quiet")
    embed_to_file(args.run, args.input, args.out, **{name: getattr(args, name) for name in names})
    return 0


def _data(args) -> int:
    from refimpl.data import known

    if args.name is None:
        widest = max(map(len, known.KNOWN))
        for entry in known.KNOWN.values():
            print(f"{entry.name:<{widest}}  {entry.line}\n{'':<{widest}}  gives {', '.join(entry.gives)}; {entry.how}")
        return 0
    data = known.open_data(args.name, bands=args.bands, size=args.size, samples=args.samples)
    rows = known.describe(data)
    widest = max(len(key) for key, _ in rows)
    for key, value in rows:
        print(f"{key:<{widest}}  {value}")
    return 0


def _verify(args) -> int:
    from refimpl.studies.verify import verify

    names = list(registry.methods()) if args.all else [registry.find(name).name for name in args.names]
    if not names:
        print("refimpl verify: name a method, or use --all", file=sys.stderr)
        return 2
    results = [verify(name, device=args.device, rungs=args.rungs, folder=args.out) for name in names]
    return 0 if all(results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="refimpl",
        description="Run reference implementations of self-supervised learning for remote sensing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=_Parser)

    add = commands.add_parser("list", help="every implementation, a line each")
    add.add_argument("--json", action="store_true", help="as JSON")

    add = commands.add_parser("show", help="what one implementation is, needs and can be set")
    add.add_argument("name")

    add = commands.add_parser("run", help="train, judge and report")
    add.add_argument("name", help="an implementation (see `list`)")
    add.add_argument("--data", help="a known name (see `data`) or a path: class folders, a zip, .npz, GeoTIFFs")
    add.add_argument("--smoke", action="store_true", help="a few steps of the real code on small synthetic data")
    add.add_argument("--epochs", type=int, help="passes over the training samples")
    add.add_argument("--batch", type=int, help="samples per step, over all processes together")
    add.add_argument("--backbone", help="any timm model name")
    add.add_argument("--bands", help="bands to use, by name or number: B04,B03,B02 or 4,3,2")
    add.add_argument("--size", type=int, help="image height and width in pixels")
    add.add_argument("--samples", type=int, help="use at most this many samples")
    add.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    add.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    add.add_argument("--compile", default="auto", choices=("auto", "on", "off"), help="torch.compile (auto: on a GPU)")
    add.add_argument("--shard", action="store_true", help="under torchrun: each process keeps a part of the weights")
    add.add_argument("--tensorboard", action="store_true", help="write TensorBoard events into the run folder")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--out", help="run folder (default: runs/<name>-<data>-<time>)")
    add.add_argument("--resume", action="store_true", help="continue the run in --out, or the newest of this kind")
    add.add_argument(
        "--preset", help="a named set of settings (see `show`); paper: its paper's own; --set wins over it"
    )
    add.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting that `show` lists")
    add.add_argument("--quiet", action="store_true", help="print nothing but errors")

    add = commands.add_parser("evaluate", help="judge a finished run again, on its data or on others")
    add.add_argument("run", help="a run folder")
    add.add_argument("--data", help="a known name or a path (default: what it was trained on)")
    add.add_argument("--device", default="auto")

    add = commands.add_parser("publish", help="put a run's record into the catalog, for a pull request")
    add.add_argument("run", help="a run folder")

    add = commands.add_parser("export", help="the encoder of a finished run for timm, ONNX or torch.export")
    add.add_argument("run", help="a run folder")
    add.add_argument("--to", required=True, choices=("timm", "onnx", "torch"))
    add.add_argument("--out", help="folder to make (default: <run>/<format>)")

    add = commands.add_parser("embed", help="features of images (a Parquet table) or of a scene (a GeoTIFF)")
    add.add_argument("run", help="a run folder")
    add.add_argument("input", help="a folder or zip of images, an .npz, a known data set; or one GeoTIFF of any size")
    add.add_argument("--out", required=True, help="file to write: .parquet, or .tif for a scene")
    add.add_argument("--bands", help="which bands of the input the run's bands are, by name or number: 4,3,2")
    add.add_argument("--size", type=int, help="images: crop and resize to the run's size, which this must be")
    add.add_argument("--stride", type=int, help="scene: pixels from window to window (default: a window's side)")
    add.add_argument("--overlap", type=int, help="scene: pixels that neighbouring windows share, instead of --stride")
    add.add_argument("--components", type=int, metavar="K", help="scene: K principal components instead of features")
    add.add_argument("--nodata", type=float, help="scene: the number that marks missing pixels, if the file hides it")
    add.add_argument("--batch", type=int, help="images at a time (default: about a million pixels)")
    add.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    add.add_argument("--quiet", action="store_true", help="print nothing but errors")

    add = commands.add_parser("data", help="the data sets that --data knows, or facts of one")
    add.add_argument("name", nargs="?", help="a known name or a path")
    add.add_argument("--bands")
    add.add_argument("--size", type=int)
    add.add_argument("--samples", type=int)

    add = commands.add_parser("verify", help="climb the verification ladder: runs, matches, learns")
    add.add_argument("names", nargs="*")
    add.add_argument("--all", action="store_true", help="every implementation")
    add.add_argument("--device", default="cpu")
    add.add_argument("--rungs", nargs="+", choices=("runs", "matches", "learns"), help="default: all three")
    add.add_argument("--out", help="folder of the records (default: catalog/results)")
    return parser


COMMANDS = {
    "list": _list,
    "show": _show,
    "run": _run,
    "evaluate": _evaluate,
    "publish": _publish,
    "export": _export,
    "embed": _embed,
    "data": _data,
    "verify": _verify,
}


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 something failed (one line said what), 2 wrong usage, 130 interrupted."""
    args = _parser().parse_args(arguments)
    try:
        return COMMANDS[args.command](args)
    except KeyboardInterrupt:
        print("refimpl: interrupted; continue a run with --resume", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, RuntimeError, KeyError, OSError, MemoryError) as error:
        if os.environ.get("REFIMPL_DEBUG"):
            raise
        # Errors of our own are one line that names the remedy; others are told apart by their type.
        own = type(error).__module__.startswith("refimpl")
        text = str(error) if own else f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        tail = "" if own else " (REFIMPL_DEBUG=1 shows where)"
        print(f"refimpl {args.command}: {text}{tail}", file=sys.stderr)
        return 1
