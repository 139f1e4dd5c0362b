"""Report of the CIFAR benchmark: errors over seeds, their difference with its uncertainty, curves and a verdict."""

from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.files import write_json, write_text
from pipeline.markdown import Column, gain, percent, table
from pipeline.preset import Preset
from pipeline.published.tables import find_table
from pipeline.reporting.figures import plotting

Runs = dict[str, list[dict[str, Any]]]
ERRORS = {
    "top1_error_last": "top-1 error, last epoch",
    "top1_error_best": "top-1 error, best epoch",
    "top5_error_last": "top-5 error, last epoch",
    "train_top1_error_last": "top-1 error on the last training batches",
}
NAMES = ("ResNeXt-29", "PS-ResNeXt-29")


def write_report(preset: Preset, base: str, other: str, runs: Runs) -> None:
    """Write `cifar.json`, `cifar.md` and the figure of a preset."""
    folder = Path("reports") / preset.name
    result = summarise(preset, base, other, runs)
    write_json(folder / "cifar.json", result)
    draw(runs, (base, other), paths.figure(preset.name, "cifar"))
    write_text(folder / "cifar.md", page(preset, result, printed(base, other)))


def summarise(preset: Preset, base: str, other: str, runs: Runs) -> dict[str, Any]:
    """Return the errors of all runs, mean and deviation of each network, and their differences in fractions of 1."""
    from pipeline.training.classification.evaluation import over_seeds, welch_interval

    first = runs[base][0]
    setting = ("images", "val_images", "classes", "steps", "input", "precision")
    result: dict[str, Any] = {"preset": preset.name, **{name: first[name] for name in setting}}
    result |= {"epochs": first["epochs"][-1]["epoch"], "networks": {}}
    result["differences"] = {}
    for name in (base, other):
        about = {"parameters": runs[name][0]["parameters"], "seeds": [found["seed"] for found in runs[name]]}
        result["networks"][name] = about
        for error in ERRORS:
            values = [found[error] for found in runs[name]]
            about[error] = {"values": values, **over_seeds(values)}
    for error in ERRORS:
        gap = welch_interval(*(entry[error]["values"] for entry in result["networks"].values()))
        result["differences"][error] = {k: None if value is None else round(value, 6) for k, value in gap.items()}
    return result


def printed(base: str, other: str) -> list[tuple[float, float]]:
    """Return the paper's (error, deviation) of both networks, in percent."""
    rows = {row.experiments[-1]: row.values for row in find_table("psconv_t6")[1].rows if row.experiments}
    return [(rows[name]["top1_err"], rows[name]["top1_err_std"]) for name in (base, other)]


def page(preset: Preset, result: dict[str, Any], paper: list[tuple[float, float]]) -> str:
    """Return the Markdown page."""
    networks = list(result["networks"].values())
    chance = 1 - 1 / result["classes"]
    named = list(zip(NAMES, networks, strict=True))
    errors = [Column(name, lambda error, own=own: spread(own[error]), "r") for name, own in named]
    runs = [Column(name, lambda i, own=own: percent(own["top1_error_last"]["values"][i]), "r") for name, own in named]
    apart = Column("difference [95 %, Welch]", lambda error: difference(result["differences"][error]), "r")
    seeds = networks[0]["seeds"]
    lines = [
        "# PS-ResNeXt-29 against ResNeXt-29 on CIFAR-100 images",
        "",
        f"Preset: {preset.title}. {result['images']:,} training and {result['val_images']:,} test images of "
        f"{result['classes']} classes, {result['input']} pixels; {result['steps']} steps, or "
        f"{result['epochs']:.1f} epochs, in {result['precision']}; the 8x64d network at "
        f"{preset.model.width:g} of its width: {networks[0]['parameters']:,} and {networks[1]['parameters']:,} "
        "parameters. The paper trains the full width for 300 epochs of 50,000 images in 100 classes. "
        "**A small number is a small number.**",
        "",
        table([Column("percent, mean ± sd over seeds", ERRORS.__getitem__), *errors, apart], ERRORS),
        verdict(result["differences"]["top1_error_last"], networks, chance),
        "",
        f"Guessing has an error of {percent(chance)} %. The paper prints {paper[0][0]:.3f} ± {paper[0][1]:.3f} and "
        f"{paper[1][0]:.3f} ± {paper[1][1]:.3f} (table 6).",
        "",
        "![Training loss and test error of every run](figures/cifar.png)",
        "",
        table([Column("top-1 error, last epoch", lambda i: f"seed {seeds[i]}"), *runs], range(len(seeds))),
        "Seeds differ in initial weights, shuffles and crops; test images are the same. The interval is for the seeds "
        "only: other test images would add to it.",
        "",
        f"Made by `python -m pipeline.benchmarks.cifar --preset {preset.name} --seeds {len(seeds)}`.",
    ]
    return "\n".join(lines) + "\n"


def verdict(gap: dict[str, float | None], networks: list[dict[str, Any]], chance: float) -> str:
    """Return what the difference of the last epoch's errors says, in one sentence."""
    if max(entry["top1_error_last"]["mean"] for entry in networks) > chance - 0.2 * chance:
        return "**Verdict: undertrained.** A network is too close to guessing for a comparison."
    if gap["low"] is None:
        return "**Verdict: undecided.** One seed has no spread."
    if gap["low"] <= 0 <= gap["high"]:
        return (
            "**Verdict: undecided.** The interval includes zero; differences below "
            f"{percent((gap['high'] - gap['low']) / 2)} points could not be told from none here."
        )
    side = "lowers" if gap["high"] < 0 else "raises"
    return f"**Verdict: PSConv {side} the error** in this setting, by {percent(abs(gap['difference']))} points."


def spread(entry: dict[str, Any]) -> str:
    """Return mean ± deviation in percent."""
    return percent(entry["mean"]) if entry["sd"] is None else f"{percent(entry['mean'])} ± {percent(entry['sd'])}"


def difference(gap: dict[str, float | None]) -> str:
    """Return a signed difference in points with its interval."""
    return gain(*(None if gap[key] is None else 100 * gap[key] for key in ("difference", "low", "high")))


def draw(runs: Runs, names: tuple[str, str], path: Path) -> None:
    """Training loss and test error over steps, a line a run."""
    drawn, axes = plotting.figure(1, 2, (8.5, 3.2))
    data = []
    for name, label, colour in zip(names, NAMES, (plotting.GREY, plotting.COLOURS[0]), strict=True):
        for number_, found in enumerate(runs[name]):
            rows = found["history"]
            only = label if number_ == 0 else None
            axes[0].plot([row["step"] for row in rows], [row["loss"] for row in rows], color=colour, label=only, lw=1)
            tested = [row for row in rows if "val_top1_error" in row]
            values = [100 * row["val_top1_error"] for row in tested]
            axes[1].plot([row["step"] for row in tested], values, color=colour, label=only, lw=1)
            for row in rows:
                line = {"network": label, "seed": found["seed"], "step": int(row["step"])}
                line |= {key: plotting.rounded(row.get(key)) for key in ("loss", "val_top1_error")}
                data.append(line)
    for ax, title in zip(axes, ("training loss", "test top-1 error in percent"), strict=True):
        ax.set_title(title)
        ax.set_xlabel("optimiser step")
    axes[0].legend()
    plotting.save(drawn, path, ("network", "seed", "step", "loss", "val_top1_error"), data)
