"""The CIFAR report on made-up runs: means, differences, and each verdict."""

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.benchmarks.cifar import BASE, OTHER
from pipeline.benchmarks.pages import cifar as cifar_report


def runs(base: list[float], other: list[float]) -> dict[str, list[dict]]:
    """Return finished runs with these top-1 errors."""

    def one(seed: int, error: float) -> dict:
        return {
            "images": 3000,
            "val_images": 1000,
            "classes": 20,
            "steps": 600,
            "input": 32,
            "precision": "fp32",
            "parameters": 1234,
            "seed": seed,
            "top1_error_last": error,
            "top1_error_best": error - 0.01,
            "top5_error_last": error / 2,
            "train_top1_error_last": error - 0.1,
            "epochs": [{"epoch": 12.8, "top1_error": error, "top5_error": error / 2}],
            "history": [{"step": 300.0, "loss": 2.0, "val_top1_error": 0.8}, {"step": 600.0, "loss": 1.5}],
        }

    return {BASE: [one(i, e) for i, e in enumerate(base)], OTHER: [one(i, e) for i, e in enumerate(other)]}


def verdict(base: list[float], other: list[float]) -> str:
    preset = config.load_preset("cifar100_subset")
    result = cifar_report.summarise(preset, BASE, OTHER, runs(base, other))
    return cifar_report.verdict(
        result["differences"]["top1_error_last"], list(result["networks"].values()), 1 - 1 / result["classes"]
    )


@pytest.mark.parametrize(
    ("base", "other", "sentence"),
    [
        ([0.50, 0.51, 0.52], [0.40, 0.41, 0.42], "PSConv lowers the error** in this setting, by 10.0 points"),
        ([0.40, 0.41, 0.42], [0.50, 0.51, 0.52], "PSConv raises the error"),
        ([0.50, 0.55, 0.60], [0.49, 0.54, 0.61], "undecided.** The interval includes zero"),
        ([0.50], [0.40], "undecided.** One seed has no spread"),
        ([0.94, 0.95, 0.95], [0.60, 0.61, 0.62], "undertrained"),
    ],
)
def test_verdicts(base, other, sentence):
    assert sentence in verdict(base, other)


def test_the_report_is_the_same_bytes_twice_and_holds_the_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset, made = config.load_preset("cifar100_subset"), runs([0.5, 0.52, 0.54], [0.4, 0.43, 0.46])
    folder = Path("reports/cifar100_subset")
    files = [folder / "cifar.md", folder / "cifar.json", folder / "figures/cifar.png", folder / "figures/cifar.csv"]
    cifar_report.write_report(preset, BASE, OTHER, made)
    first = [file.read_bytes() for file in files]
    cifar_report.write_report(preset, BASE, OTHER, made)
    assert [file.read_bytes() for file in files] == first
    result = json.loads(files[1].read_text())
    assert result["networks"][BASE]["top1_error_last"] == {"values": [0.5, 0.52, 0.54], "mean": 0.52, "sd": 0.02}
    gap = result["differences"]["top1_error_last"]
    assert gap["difference"] == pytest.approx(-0.09)
    # Variances .0004 and .0009 over three values each: dof 3.48, taken as 3; t = 3.1824.
    assert gap["high"] == pytest.approx(-0.09 + 3.18245 * ((0.0004 + 0.0009) / 3) ** 0.5, abs=1e-5)
    text = files[0].read_text()
    assert "| top-1 error, last epoch | 52.0 ± 2.0 | 43.0 ± 3.0 | -9.0 [-15.6, -2.4] |" in text
    assert "18.074 ± 0.130 and 17.138 ± 0.286" in text
    assert "| seed 2 | 54.0 | 46.0 |" in text
    assert files[3].read_text().count("\n") == 13
