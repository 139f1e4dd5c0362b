"""Figure of how stable learnt scales are over images and splits, beside deformable offsets (POD, section 4.4)."""

from collections.abc import Callable
from typing import Any

from pipeline import paths
from pipeline.files import found_json
from pipeline.published.tables import load_published
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.plotting import COLOURS, GREY, rounded
from pipeline.verdicts.results import Results

AXES = {"h": ("height", COLOURS[0]), "w": ("width", COLOURS[1])}
SPLITS = {"train": ("o", True, -0.05), "val": ("D", False, 0.05)}  # marker, filled, shift
LEARNER, DEFORMABLE = "pod_frcnn_r50_fpn_1x_gsl", "dst_frcnn_r101_dcn_fpn_1x"
Cell = Callable[[dict[str, Any], str], tuple[float, float]]  # mean and deviation of a layer along an axis
FIELDS = ("experiment", "kind", "layer", "direction", "split", "mean", "std", "spread_percent")


def draw_scale_stability(preset: str) -> None:
    """Draw learnt scales by split and every layer's relative spread, beside deformable convolutions', with data."""
    results = Results(preset)
    rows = scale_rows(results) + offset_rows(results)
    drawn, (left, right) = plotting.figure(1, 2, (11.0, 3.8))
    own = [row for row in rows if row["kind"] == "global scale"]
    if own:
        layers = list(dict.fromkeys(row["layer"] for row in own))
        _draw_scales(left, own, layers)
        _draw_spreads(right, rows, layers)
    else:
        for ax in (left, right):
            plotting.say_empty(ax, "not run")
    left.set_title(f"{LEARNER}: filled on training, hollow on validation images")
    right.set_title("Deviation over images (and positions, of deformable layers)")
    drawn.suptitle(f"POD: how stable learnt scales are, preset {preset}", x=0.01, ha="left")
    plotting.save(drawn, paths.figure(preset, "scale_stability"), FIELDS, rows)


def scale_rows(results: Results) -> list[dict[str, Any]]:
    """Return mean, deviation and relative deviation of learnt scales by layer, axis and split."""
    found = results.scales(LEARNER)
    return _rows(LEARNER, "global scale", found, lambda v, axis: (v[f"mean_{axis}"], v[f"std_{axis}"]))


def offset_rows(results: Results) -> list[dict[str, Any]]:
    """Return the same of a deformable network's effective dilations, over images and positions."""
    found = found_json(paths.offsets(results.name, DEFORMABLE))
    return _rows(DEFORMABLE, "effective dilation", found, lambda v, axis: (v[axis]["mean"], v[axis]["std"]))


def _rows(experiment: str, kind: str, found: dict[str, Any] | None, cell: Cell) -> list[dict[str, Any]]:
    splits = {"train": found["layers"], "val": (found.get("val") or {}).get("layers", {})} if found else {}
    return [
        _row(experiment, kind, layer, axis, split, *cell(values, axis))
        for split, layers in splits.items()
        for layer, values in sorted(layers.items(), key=lambda item: _order(item[0]))
        for axis in AXES
    ]


def _row(experiment: str, kind: str, layer: str, axis: str, split: str, mean: float, std: float) -> dict[str, Any]:
    spread = None if not mean else 100 * std / mean
    row = {"experiment": experiment, "kind": kind, "layer": layer, "direction": axis, "split": split}
    return {**row, "mean": rounded(mean), "std": rounded(std), "spread_percent": rounded(spread)}


def _order(layer: str) -> tuple[str, int]:
    stage, _, block = layer.partition(".")
    return stage, int(block)


def _draw_scales(ax: plotting.Axes, rows: list[dict[str, Any]], layers: list[str]) -> None:
    for row in rows:
        (_, colour), (marker, filled, shift) = AXES[row["direction"]], SPLITS[row["split"]]
        place = layers.index(row["layer"]) + shift + (0.14 if row["direction"] == "w" else -0.14)
        ax.errorbar(
            place, row["mean"], yerr=row["std"], color=colour, marker=marker, markersize=4.5, capsize=2,
            markerfacecolor=colour if filled else "white", linewidth=1,
        )  # fmt: skip
    ax.axhline(1, color="black", linewidth=0.9, linestyle="--")
    ax.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 8 else 0)
    ax.set_ylabel("scale: mean and deviation over images")
    for index, (word, colour) in enumerate(AXES.values()):
        ax.annotate(word, (0.02, 0.94 - 0.07 * index), xycoords="axes fraction", color=colour)


def _draw_spreads(ax: plotting.Axes, rows: list[dict[str, Any]], layers: list[str]) -> None:
    for row in rows:
        if row["layer"] not in layers or not row["spread_percent"]:
            continue
        (_, colour), (marker, filled, shift) = AXES[row["direction"]], SPLITS[row["split"]]
        marker = marker if row["kind"] == "global scale" else {"o": "^", "D": "v"}[marker]
        place = layers.index(row["layer"]) + shift + (0.14 if row["direction"] == "w" else -0.14)
        ax.plot(
            place, row["spread_percent"], marker=marker, color=colour, markersize=4.5,
            markerfacecolor=colour if filled else "white",
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_yticks([0.1, 0.3, 1, 3, 10, 30, 100], ["0.1", "0.3", "1", "3", "10", "30", "100"])
    ax.minorticks_off()
    shown = [row["spread_percent"] for row in rows if row["spread_percent"]]
    ax.set_ylim(min([1.0, *shown]) / 1.5, max([100.0, *shown]) * 1.2)
    claims = {claim.id: claim.values for claim in load_published("pod").claims}
    limits = {
        "POD prints less than {:g} % (GSL)": claims["pod_c11_scale_std"]["max_std_over_mean_percent"],
        "POD quotes more than {:g} % (deformable)": claims["pod_c12_dcn_std"]["min_percent"],
    }
    for text, limit in limits.items():
        ax.axhline(limit, color=GREY, linewidth=0.9, linestyle=":")
        ax.annotate(text.format(limit), (0.01, limit), xycoords=("axes fraction", "data"), xytext=(0, 2),
                    textcoords="offset points", color=GREY, fontsize=7.5)  # fmt: skip
    ax.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 8 else 0)
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.set_ylabel("deviation (% of the mean)")
    if any(row["kind"] != "global scale" and row["spread_percent"] for row in rows):
        ax.annotate("circles, diamonds: global scale; triangles: effective dilation", (0.98, 0.02),
                    xycoords="axes fraction", ha="right", color=GREY, fontsize=7.5)  # fmt: skip
