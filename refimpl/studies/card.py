"""The page that goes with an exported encoder: how to use it, what it reads, how well it does, where it comes from."""

from __future__ import annotations

from textwrap import dedent

from refimpl import registry

BASELINES = ("trained", "random initialisation", "band statistics")  # the order of the columns, where they are there

MOST_ROWS = 20  # bands that are listed on the page; more are in config.json alone


def model_card(facts: dict, record: dict, to: str, checked: str, *, own_features: bool) -> str:
    """README.md of an exported folder, Markdown with the front matter that Hugging Face reads.

    Args:
        facts: see `refimpl.studies.facts`. record: the run record. to: "timm", "onnx" or "torch".
        checked: one sentence, what was compared when the folder was written.
        own_features: the method's scores judge features that are more than the encoder's output.
    """
    data = facts["trained_on"]
    entry = registry.find(facts["method"])
    tags = ["remote-sensing", "self-supervised-learning", *(["synthetic-data"] if data["synthetic"] else [])]
    hub = ["library_name: timm", "pipeline_tag: image-feature-extraction"] if to == "timm" else []
    front = ["---", *hub, "tags:", *(f"- {tag}" for tag in tags), "---"]
    title = f"# {facts['backbone']}, trained by {facts['method']} on {data['name']}"
    marks = []
    if data["synthetic"]:
        marks.append(
            "**Trained on synthetic images.** It shows that the implementation learns; "
            "it is not meant for images of the real Earth."
        )
    if own_features:
        marks.append(
            f"**The encoder alone.** The scores below judge features that `{facts['method']}` makes of several "
            "outputs of this encoder."
        )
    parts = [
        "\n".join(front),
        title,
        *marks,
        f"An encoder of satellite images, trained without labels by {entry.title.rstrip('.')}. "
        f"It turns an image of {_shape(facts)} into {facts['features']} numbers.",
        "## Use",
        _use(facts, to),
        "## What it reads",
        _inputs(facts, to),
        "## How well it does",
        _scores(record),
        "## Where it comes from",
        f"{data['samples']} samples of {data['source'] or data['name']}"
        f"{' (synthetic)' if data['synthetic'] else ''}; {_recipe(record)}. Run {facts['run']['id']}, "
        f"{facts['run']['started']}, code {facts['run']['commit']}.",
        checked,
        "No licence is stated here: which one the weights can have depends on the data that they were trained on.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shape(facts: dict) -> str:
    bands = f"{len(facts['bands'])} bands"
    return f"{bands} and {facts['size']} x {facts['size']} pixels" if facts["size"] > 1 else f"one pixel and {bands}"


def _use(facts: dict, to: str) -> str:
    shape = (1, len(facts["bands"]), facts["size"], facts["size"]) if facts["size"] > 1 else (1, len(facts["bands"]))
    zeros = f"({', '.join(map(str, shape))})"
    view = ", ".join(["1", "-1", *["1"] * (len(shape) - 2)])
    code = {
        "timm": f"""
            import timm
            import torch

            encoder = timm.create_model("local-dir:.", pretrained=True).eval()   # . is this folder
            about = encoder.pretrained_cfg
            mean, std = (torch.tensor(about[key]).view({view}) for key in ("mean", "std"))
            stored = torch.zeros({zeros})   # your images here, numbers as the files hold them
            features = encoder((stored - mean) / std)
            """,
        "onnx": f"""
            import numpy
            import onnxruntime

            encoder = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
            stored = numpy.zeros({zeros}, numpy.float32)   # your images here, numbers as the files hold them
            (features,) = encoder.run(None, {{"stored": stored}})
            """,
        "torch": f"""
            import torch

            encoder = torch.export.load("model.pt2").module()
            stored = torch.zeros({zeros})   # your images here, numbers as the files hold them
            features = encoder(stored)
            """,
    }[to]
    return f"```python\n{dedent(code).strip()}\n```"


def _inputs(facts: dict, to: str) -> str:
    if to == "timm":
        words = (
            "Normalise the stored numbers yourself, band by band: (stored - mean) / std. `mean` and `std` of "
            "`config.json` are in the units of the stored numbers. `timm.data.create_transform` divides 8-bit images "
            "by 255 before it normalises; hand it mean / 255 and std / 255 then."
        )
    else:
        words = (
            "Give it the numbers as the files hold them, as float32, any number of images at a time. "
            "It normalises them itself."
        )
    sensor = f" Sensor: {facts['sensor']}." if facts["sensor"] else ""
    if len(facts["bands"]) > MOST_ROWS:
        return f"{words}{sensor} Its {len(facts['bands'])} bands are listed in `config.json`."
    rows = "\n".join(
        f"| {n} | {band} | {mean:.6g} | {std:.6g} |"
        for n, (band, mean, std) in enumerate(zip(facts["bands"], facts["mean"], facts["std"]), start=1)
    )
    return f"{words}{sensor}\n\n| channel | band | mean | std |\n| --- | --- | --- | --- |\n{rows}"


def _recipe(record: dict) -> str:
    recipe = record["config"]["recipe"]
    return f"{recipe['epochs']} epochs, {recipe['batch']} samples per step, {recipe['optimiser']}"


def _scores(record: dict) -> str:
    if not record["scores"]:
        return "It was not judged: its training data have no labels."
    kinds = [s["features"] for s in record["scores"]]
    columns = sorted(set(kinds), key=lambda kind: (*BASELINES, kind).index(kind))
    metrics = list(dict.fromkeys(s["metric"] for s in record["scores"]))
    cell = {(s["metric"], s["features"]): _cell(s) for s in record["scores"]}
    lines = [["metric", *columns], ["---"] * (len(columns) + 1)]
    lines += [[metric, *(cell.get((metric, column), "") for column in columns)] for metric in metrics]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"Judged by the protocol *{record['protocol']}* on the test split of {record['data']['name']}; in brackets the "
        "95 % interval. *Random initialisation* is the same network untrained, *band statistics* needs no network: a "
        f"method that does not beat both has learned nothing.\n\n{table}"
    )


def _cell(score: dict) -> str:
    digits = 1 if score["unit"] == "%" else 4
    unit = "" if score["unit"] == "1" else f" {score['unit']}"
    text = f"{score['value']:.{digits}f}{unit}"
    if score.get("lower") is not None:
        text += f" ({score['lower']:.{digits}f} to {score['upper']:.{digits}f})"
    return text
