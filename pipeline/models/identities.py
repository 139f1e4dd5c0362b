"""Compare the papers' printed costs with counts of their networks (`data/published/identities.yaml`)."""

from collections.abc import Hashable
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple

import torch
from torch import nn

from pipeline import config, paths
from pipeline.models import comparison_networks as others
from pipeline.models.build import build_classifier, build_detector
from pipeline.models.measure import count, on_meta, parameters, printed_scales
from pipeline.options import Experiment, Method, Notes, Options, Recipe
from pipeline.preset import Preset
from pipeline.spec import Spec

Status = Literal["match_direct", "match_two_step", "mismatch", "not_printed"]


class Identity(Options):
    """One row: a network, its exact numbers and the printed ones."""

    name: str
    detector: str
    backbone: str
    parameters: int
    status: Status
    neck: str = "fpn"
    counted: Literal["trainable", "total"] = "trainable"
    total: int | None = None
    base: str | None = None
    delta: int | None = None
    macs: int | None = None
    method: Method = Method()
    least_scale: float = 0.0  # of a decomposed network: smaller printed scales are raised to it
    variant: str | None = None
    classes: int = 80
    input: int = 224
    printed: float | None = None  # millions
    printed_macs: float | None = None  # thousand millions
    note: str = ""


class Identities(Options):
    """Contents of `data/published/identities.yaml`."""

    rows: tuple[Identity, ...]


class Counts(NamedTuple):
    """Parameters and multiply-adds of a network; None where only its backbone can be built yet."""

    total: int | None
    trainable: int | None
    backbone: int
    macs: int | None


class Counted(NamedTuple):
    """The counts of a row; None where its network cannot be built yet."""

    row: Identity
    parameters: int | None
    total: int | None
    delta: int | None
    macs: int | None

    @property
    def exact(self) -> bool | None:
        """Whether all counts equal the expected integers; None where nothing was counted."""
        pairs = [(getattr(self, name), getattr(self.row, name)) for name in ("parameters", "total", "delta", "macs")]
        known = [found == wanted for found, wanted in pairs if found is not None and wanted is not None]
        return all(known) if known else None

    @property
    def status(self) -> Status:
        """Whether the count, or the expected number where there is none, rounds to what the paper prints."""
        row = self.row
        if row.printed is None:
            return "not_printed"
        found = print_status(self.parameters or row.parameters, row.printed, 6)
        if row.printed_macs is not None and found == "match_direct":
            return print_status(self.macs or row.macs, row.printed_macs, 9)
        return found


def load_identities() -> tuple[Identity, ...]:
    """Return all rows; raise InputError with file and key where the file is malformed."""
    return config.load(paths.ROOT / paths.published_file("identities"), Identities).rows


def count_identities() -> list[Counted]:
    """Count every row's network on the meta device; a network of several rows is built once."""
    preset = config.load_preset("full")
    found: dict[Hashable, Counts] = {}
    rows = load_identities()
    named = {row.name: row for row in rows}

    def counts(row: Identity) -> Counts:
        key = (row.detector, row.backbone, row.neck, row.variant, row.classes, row.input, row.method, row.least_scale)
        if key not in found:
            found[key] = count_network(row, specification(row, preset))
        return found[key]

    return [compare(row, counts(row), None if row.base is None else counts(named[row.base])) for row in rows]


def compare(row: Identity, counts: Counts, base: Counts | None) -> Counted:
    """Return the counts of a row; what its method adds is the growth of the backbone `base`."""
    wanted = counts.total if row.counted == "total" else counts.trainable
    delta = None if base is None else counts.backbone - base.backbone
    return Counted(row, wanted, counts.total if row.total else None, delta, counts.macs)


def specification(row: Identity, preset: Preset) -> Spec:
    """Return the specification of a row's network at the papers' size."""
    experiment = Experiment(
        detector=row.detector,
        backbone=row.backbone,
        dataset="imagenet",
        recipe="",
        init="none",
        notes=Notes(row=row.name),
        neck=row.neck,
        method=row.method,
    )
    return Spec(row.name, "shared", experiment, Recipe(batch=1, lr=0.0, source="", norm="batch"), preset)


def count_network(row: Identity, spec: Spec) -> Counts:
    """Count a row's network on the meta device, or only its backbone where its detector cannot be built yet."""
    with on_meta():
        if row.detector == "classifier":
            model = classifier(row, spec).eval()
            total = parameters(model)
            macs = count(lambda: model(torch.empty(1, 3, row.input, row.input, device="meta")))
            return Counts(total, total, parameters(model.body), macs)
        model = build_detector(spec, row.classes, scales(row, spec))
    total, body = parameters(model), model.backbone.body
    own = parameters(body) + (parameters(model.roi_heads.box_head) if row.neck == "c4" else 0)
    return Counts(total, total - sum(parameters(part) for part in body.first_modules(1)), own, None)


def classifier(row: Identity, spec: Spec) -> nn.Module:
    """Build a row's classifier, possibly in a variant that no experiment trains."""
    if row.variant in ("drn_a_50", "drn_d_54"):
        return getattr(others, row.variant)(row.classes)
    model = build_classifier(spec, row.classes)
    if row.variant == "stride_in_1x1":
        others.stride_in_1x1(model)
    elif row.variant in ("three_branches", "dense_branches"):
        make = others.three_branches if row.variant == "three_branches" else others.DenseBranches
        others.replace_psconv(model, make)
    return model


def scales(row: Identity, spec: Spec) -> dict[str, tuple[float, float]] | None:
    """Return the printed scales of a decomposed network."""
    found = printed_scales(spec)
    return found and {
        name: tuple(max(value, row.least_scale) for value in pair) for name, pair in sorted(found.items())
    }


def print_status(found: int, printed: float, power: int) -> Status:
    """Return whether a count, rounded to the decimals of the paper's number, equals it.

    MMDetection's counter rounds to two decimals; the paper may have rounded that to one decimal, half up.
    """
    wanted = Decimal(str(printed))
    exact = Decimal(found).scaleb(-power)
    if half_up(exact, wanted) == wanted:
        return "match_direct"
    return "match_two_step" if half_up(half_up(exact, Decimal("0.01")), wanted) == wanted else "mismatch"


def half_up(value: Decimal, like: Decimal) -> Decimal:
    """Round to as many decimals as `like` has, halves up."""
    return value.quantize(like, ROUND_HALF_UP)
