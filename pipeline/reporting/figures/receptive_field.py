"""Figure of POD's density of connections: where a neuron's paths end in the image, network beside network."""

from pathlib import Path
from typing import Any

from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY

LOOKS = {  # colour, line width and style; FD is drawn over GSL, whose line it should cover
    "plain": (GREY, 1.2, "-"),
    "gsl": (COLOURS[1], 2.6, "-"),
    "rounded": (COLOURS[2], 1.1, "--"),
    "fd": (COLOURS[0], 1.1, "-"),
}
LABELS = {"plain": "plain", "gsl": "GSL", "rounded": "rounded dilations", "fd": "FD"}
FIELDS = ("case", "axis", "network", "offset", "share")


def draw_receptive_field(numbers: dict[str, Any], profiles: list[dict[str, Any]], path: Path) -> None:
    """Draw the share of paths by offset from the centre, a row a case and a column an axis; data as CSV.

    `numbers`: {"cases": {name: {"title", "networks": {network: {"receptive_field", "difference_to_gsl", ...}}}}}.
    """
    cases = numbers["cases"]
    drawn, axes = plotting.figure(len(cases), 2, (11.0, 2.9 * len(cases)), sharey=True)
    for row, (case, found) in enumerate(cases.items()):
        for column, axis in enumerate(("height", "width")):
            ax = axes[2 * row + column]
            for network, (colour, width, style) in LOOKS.items():
                points = [p for p in profiles if (p["case"], p["axis"], p["network"]) == (case, axis, network)]
                kept = [(p["offset"], p["share"]) for p in points]
                reach = found["networks"][network]["receptive_field"][column]
                label = f"{LABELS[network]}: {reach} px"
                if network in ("fd", "rounded"):
                    label += f", {100 * found['networks'][network]['difference_to_gsl']:.2g} % differ from GSL"
                ax.plot(*zip(*kept, strict=True), color=colour, linewidth=width, linestyle=style, label=label)
            ax.set_yscale("log")
            ax.set_xlim(0, None)
            ax.set_xlabel(f"offset in {axis} (input pixels)")
            ax.legend(loc="lower left", fontsize=7.5, title="receptive field", title_fontsize=7.5)
        axes[2 * row].set_ylabel("share of paths a pixel")
        axes[2 * row].set_title(found["title"])
    title = "POD: density of connections, the paths from one neuron to the image in networks of ones"
    drawn.suptitle(title, x=0.01, ha="left")
    plotting.save(drawn, path, FIELDS, profiles)
