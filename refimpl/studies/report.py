"""One page about a run, with the pictures a person looks at first: the loss curve and the map of the features."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from rich.table import Table

from refimpl.data.dataset import Data
from refimpl.engine.checkpoint import write_atomically
from refimpl.engine.method import Method
from refimpl.engine.progress import console

MAPPED = 1500  # samples drawn in the map of the features


def print_scores(record: dict) -> None:
    """The scores as a table on standard error, baselines beside them."""
    note = " (synthetic data)" if record["data"]["synthetic"] else ""
    table = Table(title=f"{record['method']} on {record['data']['name']}{note}")
    for column in ("features", "metric", "value", "95 % interval"):
        table.add_column(column)
    for s in record["scores"]:
        table.add_row(s["features"], s["metric"], _value(s), _interval(s))
    console.print(table)


def _digits(score: dict) -> int:
    return 1 if score["unit"] == "%" else 4


def _value(score: dict) -> str:
    unit = "" if score["unit"] == "1" else f" {score['unit']}"
    return f"{score['value']:.{_digits(score)}f}{unit}"


def _interval(score: dict) -> str:
    if score.get("lower") is None:
        return ""
    return f"{score['lower']:.{_digits(score)}f} to {score['upper']:.{_digits(score)}f}"


def _figure(path: Path, figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def draw_curve(folder: Path) -> None:
    """curve.png: the loss, and below it how spread out the features are (deviation and effective rank)."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    watched = [line for line in lines if "embedding_std" in line]
    figure, axes = plt.subplots(1 + bool(watched), 1, figsize=(7, 3 + 2 * bool(watched)), sharex=True, squeeze=False)
    axes[0, 0].plot([line["step"] for line in lines], [line["loss"] for line in lines], color="#1a6b54", linewidth=1)
    axes[0, 0].set_ylabel("loss")
    if watched:
        steps = [line["step"] for line in watched]
        axes[1, 0].plot(
            steps, [line["embedding_std"] for line in watched], color="#1a6b54", label="deviation (1 = even)"
        )
        axes[1, 0].set_ylim(0, 1.05)
        axes[1, 0].set_ylabel("deviation")
        twin = axes[1, 0].twinx()
        twin.plot(steps, [line["effective_rank"] for line in watched], color="#b4581d", label="effective rank")
        twin.set_ylabel("effective rank", color="#b4581d")
    axes[-1, 0].set_xlabel("step")
    _figure(folder / "curve.png", figure)


@torch.inference_mode()
def draw_features(folder: Path, method: Method, data: Data) -> bool:
    """features.png: test features on their two principal axes, coloured by class. False where there are no classes."""
    if "label" not in data.gives or not len(data.splits.get("test", ())):
        return False
    test = torch.as_tensor(data.splits["test"])  # often sorted by class, so evenly spaced ones are drawn
    index = test[torch.linspace(0, len(test) - 1, min(MAPPED, len(test))).long()]
    device = next(method.parameters()).device
    stored = (data.take(method.needs[0], part).to(device) for part in index.split(256))
    features = torch.cat([method.embed(part).float().cpu() for part in stored])
    centred = features - features.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    x, y = (centred @ axes.T).T
    labels = data.take("label", index)
    figure, ax = plt.subplots(figsize=(7, 5))
    for c, colour in zip(range(len(data.classes)), plt.get_cmap("tab20").colors * 10):
        chosen = labels == c
        ax.scatter(x[chosen], y[chosen], s=7, color=colour, label=data.classes[c], linewidths=0)
    ax.set_xlabel("first principal axis")
    ax.set_ylabel("second principal axis")
    ax.legend(markerscale=2, fontsize=7, bbox_to_anchor=(1, 1), loc="upper left", frameon=False)
    _figure(folder / "features.png", figure)
    return True


def write_report(folder: Path, record: dict, method: Method, data: Data) -> None:
    """report.html with its pictures, readable without anything else."""
    pictures = ""
    if (folder / "metrics.jsonl").exists():
        draw_curve(folder)
        pictures += '<h2>Training</h2><img src="curve.png" alt="Loss by step">'
    if draw_features(folder, method, data):
        pictures += '<h2>Features</h2><img src="features.png" alt="Test features on two axes, by class">'
    rows = "".join(
        f"<tr><td>{html.escape(s['features'])}</td><td>{html.escape(s['metric'])}</td>"
        f"<td>{_value(s)}</td><td>{_interval(s)}</td></tr>"
        for s in record["scores"]
    )
    facts = {
        "data": f"{record['data']['name']} ({record['data']['samples']} samples"
        + (", synthetic)" if record["data"]["synthetic"] else ")"),
        "backbone": record["config"]["backbone"],
        "seed": record["seed"],
        "device": record["device"],
        "time": f"{record['seconds']:.0f} s, {record['images_per_second']:.0f} images/s",
        "peak memory": f"{record['peak_memory_mb']} MB",
        "commit": record["commit"],
        "settings": json.dumps({**record["config"]["hyper"], **record["config"]["recipe"]}),
    }
    listed = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items())
    title = html.escape(f"{record['method']} on {record['data']['name']}")
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884 }}
dl {{ display: grid; grid-template-columns: 8rem 1fr; gap: .2rem 1rem }} dd {{ margin: 0; overflow-wrap: anywhere }}
img {{ max-width: 100%; background: white; border-radius: 6px }}
</style></head><body><h1>{title}</h1>
<h2>Scores</h2><table><tr><th>features</th><th>metric</th><th>value</th><th>95 % interval</th></tr>{rows}</table>
{pictures}
<h2>Run</h2><dl>{listed}</dl></body></html>
"""
    write_atomically(folder / "report.html", page.encode())
