"""Figure of the weight share of each dilation rate by layer (PSConv, figure 6)."""

import itertools
from pathlib import Path
from typing import Any

from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, rounded

FIELDS = ("experiment", "layer", "stride", "rate", "kernels", "share", "untrained_share", "untrained_deviation")


def draw_weight_share(result: dict[str, Any], preset: str, path: Path) -> None:
    """Draw one panel a dilation rate: its share by layer, over the band in which untrained weights lie."""
    layers = result["layers"]
    names = list(layers)
    rates = sorted({int(rate) for layer in layers.values() for rate in layer["rates"]})
    size = (min(16.0, max(7.5, 1.2 + 0.24 * len(rates) * len(names))), 3.6)
    drawn, axes = plotting.figure(1, len(rates), size, sharey=True)
    starts = [i for i, name in enumerate(names) if i == 0 or stage(name) != stage(names[i - 1])]
    for ax, rate, colour in zip(axes, rates, itertools.cycle(COLOURS), strict=False):
        places = [i for i, name in enumerate(names) if str(rate) in layers[name]["rates"]]
        entries = [layers[names[i]]["rates"][str(rate)] for i in places]
        means = [100 * entry["untrained_share"] for entry in entries]
        margins = [200 * entry["untrained_deviation"] for entry in entries]
        low = [mean - margin for mean, margin in zip(means, margins, strict=True)]
        high = [mean + margin for mean, margin in zip(means, margins, strict=True)]
        ax.fill_between(places, low, high, color="#d9d9d9", linewidth=0)
        shares = [100 * entry["share"] for entry in entries]
        ax.plot(places, shares, color=colour, marker="o", markersize=3.5)
        chosen = [(i, share) for i, share in zip(places, shares, strict=True) if i in starts]
        ax.plot([i for i, _ in chosen], [share for _, share in chosen], color=colour, marker="s", markersize=7, ls="")
        kernels = entries[0]["kernels"] / sum(entry["kernels"] for entry in layers[names[places[0]]]["rates"].values())
        ax.set_title(f"dilation {rate} ({100 * kernels:g} % of the kernels)")
        ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
        ax.set_xlim(-0.5, len(names) - 0.5)
    axes[0].set_ylabel("% of the layer's weight")
    drawn.supxlabel("block of the backbone (layer1 = conv2_x)", fontsize=9)
    drawn.suptitle(
        f"PSConv: share of each dilation rate in a layer's weight, {result['experiment']}, preset {preset}\n"
        "square: first block of a stage; grey: untrained weights, mean and two deviations to either side",
        x=0.01,
        ha="left",
        fontsize=9.5,
    )
    plotting.save(drawn, path, FIELDS, rows(result))


def rows(result: dict[str, Any]) -> list[dict[str, object]]:
    """Return the figure's data, one row a layer and rate."""
    shares = ("share", "untrained_share", "untrained_deviation")
    return [
        {"experiment": result["experiment"], "layer": name, "stride": layer["stride"], "rate": int(rate)}
        | {"kernels": entry["kernels"]}
        | {key: rounded(entry[key]) for key in shares}
        for name, layer in result["layers"].items()
        for rate, entry in layer["rates"].items()
    ]


def stage(block: str) -> str:
    """Return the stage of a block: `layer2` of `layer2.0`."""
    return block.split(".")[0]
