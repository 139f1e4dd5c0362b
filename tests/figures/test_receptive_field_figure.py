"""The receptive field stage: same bytes every time, data beside the figure, no learnt row without learnt scales."""

import shutil

from fake_results import read_csv

from pipeline import paths
from pipeline.files import read_json, write_json
from pipeline.stages import receptive_field


class Options:
    name, preset = "pod_frcnn_r50_fpn_1x_gsl", "mini"


def test_without_learnt_scales(fake):
    receptive_field.main(Options)
    found = read_json(paths.receptive_field("mini"))
    assert (found["learnt"], len(found["cases"])) == (False, 3)
    figure = paths.figure("mini", "receptive_field")
    before = figure.read_bytes(), figure.with_suffix(".csv").read_bytes()
    shutil.rmtree("reports")
    receptive_field.main(Options)
    assert (figure.read_bytes(), figure.with_suffix(".csv").read_bytes()) == before
    rows = read_csv(figure.with_suffix(".csv"))
    assert {row["network"] for row in rows} == {"plain", "gsl", "fd", "rounded"}
    assert {row["case"] for row in rows} == set(found["cases"])


def test_learnt_scales_are_a_case_of_their_own(fake):
    scale = {"mean_h": 2.0, "mean_w": 1.0, "std_h": 0.0, "std_w": 0.0}
    write_json(paths.scales("mini", Options.name), {"layers": {"layer2.0": scale, "layer4.1": scale}})
    receptive_field.main(Options)
    found = read_json(paths.receptive_field("mini"))["cases"]["learnt"]
    assert found["source"] == "learnt by pod_frcnn_r50_fpn_1x_gsl under preset mini"
    networks = found["networks"]
    # Two blocks a stage. Scale 2 adds 1 pixel of its map on both sides, at stride 4 (first of layer2) and 32.
    plain, gsl = networks["plain"]["receptive_field"], networks["gsl"]["receptive_field"]
    assert [gsl[0] - plain[0], gsl[1] - plain[1]] == [2 * (4 + 32), 0]
    assert networks["fd"]["difference_to_gsl"] == networks["rounded"]["difference_to_gsl"] == 0  # integer scales
