"""Results of a preset, written by hand, and the CSV that is made of them, read back."""

import csv
from pathlib import Path

from pipeline import paths
from pipeline.files import read_json, write_json, write_text

METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


class Fake:
    """Writes the files that stages leave for preset mini."""

    preset = "mini"
    sd: float | None = None
    dof = 4

    def __init__(self) -> None:
        self.order: dict[str, int] = {}  # experiments, as they were given blocks

    def evaluation(self, name: str, ap: float, spread: tuple[float, ...] = (0.0, 0.0), **others: float | None) -> None:
        """Write metrics, every one equal to `ap` but for `others`, and replicates that differ from it by `spread`."""
        values = dict.fromkeys(METRICS, ap) | {"ap50": 0.5} | others
        found = {"experiment": name, "images": 300, **values}
        write_json(paths.metrics(self.preset, name), found | self.blocks(name, found))
        replicates = {m: [None if v is None else v + s for s in spread] for m, v in values.items()}
        write_json(paths.bootstrap(self.preset, name), {"draws": len(spread), **replicates})

    def training(
        self, name: str, collage: float | None = None, valid: dict | None = None, images: int | None = 2400
    ) -> None:
        summary = {"experiment": name, "steps": 300, "images_seen": images, "collage_share": collage}
        write_json(paths.training_summary(self.preset, name), summary | {"valid_objects": valid})

    def history(self, name: str, rows: list[str]) -> None:
        header = "step,loss,small_share,collage"
        write_text(paths.history(self.preset, name), "\n".join([header, *rows]) + "\n")

    def scales(self, name: str, shift: float) -> None:
        layers = {
            f"layer{stage}.{block}": {"mean_h": 1 + shift, "mean_w": 1.0, "std_h": 0.02, "std_w": 0.01}
            for stage in (2, 3, 4)
            for block in (0, 1)
        }
        value = {"experiment": name, "images": 500, "layers": layers, "largest_shift": abs(shift)}
        write_json(paths.scales(self.preset, name), value)

    def size(self, name: str, parameters: int, macs: int) -> None:
        value = {"parameters_total": parameters, "macs": macs, "scales": None, "input": [240, 400]}
        write_json(paths.size(self.preset, name), value)

    def noise(self, sd: float | None = 0.005, dof: int = 4) -> None:
        """Give every evaluation `dof` + 1 blocks, so that a gain's mean over them has the deviation sqrt(2) `sd`.

        The blocks of up to `dof` experiments, and of one experiment's metrics, lie apart by orthogonal contrasts, so
        that their differences add up like independent noise. Without `sd`, every evaluation has one block.
        """
        self.sd, self.dof = sd, dof
        for file in paths.metrics(self.preset, "x").parent.glob("*.json"):
            found = read_json(file)
            if "images" in found and not file.stem.endswith(("_training", "_scales")):
                found.pop("blocks", None)
                write_json(file, found | self.blocks(file.stem, found))

    def blocks(self, name: str, values: dict) -> dict:
        """Return the blocks of an evaluation with these means, nothing where no noise was asked for."""
        if self.sd is None:
            return {}
        experiment = paths.split_evaluation(name)[0]
        place = self.order.setdefault(experiment, len(self.order))
        columns = {
            key: self.contrast(place + shift) if isinstance(value, float) else [0.0] * (self.dof + 1)
            for shift, (key, value) in enumerate(values.items())
        }
        return {
            "blocks": [
                {
                    key: value + columns[key][block] if isinstance(value, float) else value
                    for key, value in values.items()
                }
                for block in range(self.dof + 1)
            ]
        }

    def contrast(self, place: int) -> list[float]:
        """Return one of `dof` orthogonal rows of zero mean, for a mean that deviates by `sd`."""
        place = place % self.dof + 1
        unit = self.sd * (self.dof + 1) ** 0.5 * self.dof**0.5 * (place * (place + 1)) ** -0.5
        return [*[unit] * place, -place * unit, *[0.0] * (self.dof - place)]

    def dst(self, gain: float = 0.03, collage: float | None = 0.4, **others: float | None) -> None:
        """Write DST's baseline (AP 20) and DST itself, `gain` above it in every replicate."""
        self.evaluation("dst_frcnn_r50_fpn_1x", 0.20)
        self.evaluation("dst_frcnn_r50_fpn_1x_dst", 0.20 + gain, **others)
        self.training("dst_frcnn_r50_fpn_1x")
        self.training("dst_frcnn_r50_fpn_1x_dst", collage)


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def figure_rows(name: str) -> list[dict[str, str]]:
    return read_csv(paths.figure("mini", name).with_suffix(".csv"))


def table_line(table: str, row: str, metric: str = "ap", kind: str = "row", place=paths.table) -> dict[str, str]:
    lines = read_csv(place("mini", table, "csv"))
    return next(x for x in lines if (x["row"], x["metric"], x["kind"]) == (row, metric, kind))
