"""Real photographs, where `fetch` has brought them: each is decoded, and the counts are those that were meant."""

from __future__ import annotations

from skips import photographs

from pipeline import config
from pipeline.data.sources import verify_preset


def verified(name, folder, monkeypatch):
    """Return the manifest of a preset's photographs, written into another folder than the project's."""
    (folder / "data").mkdir()
    (folder / "data/photographs").symlink_to(photographs(name).parent)
    monkeypatch.chdir(folder)
    return verify_preset(config.load_preset(name))


def test_blood_cells(tmp_path, monkeypatch):
    manifest = verified("blood_cells", tmp_path, monkeypatch)
    assert [manifest["splits"][split]["images"] for split in ("train", "val")] == [292, 72]
    assert {category["name"] for category in manifest["categories"]} == {"Platelets", "RBC", "WBC"}
    assert manifest["shared_images"] == 0


def test_people(tmp_path, monkeypatch):
    """How many there are depends on how much of val2017 is at hand."""
    manifest = verified("people", tmp_path, monkeypatch)
    train, val = (manifest["splits"][split] for split in ("train", "val"))
    assert train["images"] > 2 * val["images"] > 0
    assert all(split["annotations"] >= split["images"] for split in (train, val))
    assert [category["name"] for category in manifest["categories"]] == ["person"]
    assert manifest["shared_images"] == 0
