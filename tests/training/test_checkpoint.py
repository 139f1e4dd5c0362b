"""Checkpoints survive truncation and interruption; inits go where names and shapes agree."""

import errno

import processes
import pytest
import tiny
import torch

from pipeline.errors import InputError
from pipeline.files import DiskFullError
from pipeline.models import build_detector
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoints, load_init, load_weights, save_weights


def state(step: int) -> dict:
    return {"step": step, "model": {"weight": torch.full((3,), float(step))}, "rows": [{"loss": 0.1}]}


def test_newest_state_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.load() is None
    for step in (2, 4, 6):
        checkpoints.save(state(step))
    loaded = checkpoints.load()
    assert loaded["step"] == 6
    assert loaded["model"]["weight"].tolist() == [6.0, 6.0, 6.0]
    assert loaded["rows"] == [{"loss": 0.1}]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last.pt", "previous.pt"]


def cut(data: bytes, place: float) -> bytes:
    return data[: int(place * len(data)) if isinstance(place, float) else place]


def flip_bit(data: bytes, place: float) -> bytes:
    changed = bytearray(data)
    changed[int(place * len(data))] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "place"),
    [(cut, p) for p in (0, 1, 100, 0.5, 0.99)] + [(flip_bit, p) for p in (0, 0.3, 0.5, 0.7, 0.999)],
)
def test_a_damaged_file_falls_back_to_the_one_before(tmp_path, capsys, damage, place):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(2))
    checkpoints.save(state(4) | {"big": torch.zeros(2000)})  # PyTorch itself reads a flipped bit of a tensor
    checkpoints.last.write_bytes(damage(checkpoints.last.read_bytes(), place))
    assert checkpoints.load()["step"] == 2
    printed = capsys.readouterr()
    assert "last.pt is unreadable (its checksum is wrong: it is cut off or damaged); going on from" in printed.err
    assert printed.out == ""
    checkpoints.previous.write_bytes(b"PK")
    assert checkpoints.load() is None


FULL = (DiskFullError, r"^There is no space left to write .*last.pt; free some and run")


@pytest.mark.parametrize(
    ("number", "error", "sentence"),
    [*((number, *FULL) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)), (errno.EIO, OSError, "cannot write")],
)
def test_a_failed_write_is_said_and_keeps_the_state_before(tmp_path, monkeypatch, number, error, sentence):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(2))
    checkpoints.save(state(4))

    def full(self: object) -> None:
        raise OSError(number, "cannot write")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Sealing, "seal", full)
        for _ in range(2):  # a second failure takes nothing more
            with pytest.raises(error, match=sentence):
                checkpoints.save(state(6))
    assert checkpoints.load()["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["previous.pt"]
    checkpoints.save(state(6))
    assert checkpoints.load()["step"] == 6


def test_a_write_that_fails_inside_pytorch_keeps_its_cause(tmp_path):
    with open("/dev/full", "wb", buffering=0) as stream:
        sealing = checkpoint.Sealing(stream)
        torch.save({"weight": torch.zeros(1000)}, sealing)
        with pytest.raises(OSError, match="No space left") as error:
            sealing.seal()
    assert error.value.errno == errno.ENOSPC


def test_largest_file_size_of_a_process(tmp_path):
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from pipeline.files import DiskFullError, write_text\n"
        "from pipeline.training.checkpoint import Checkpoints, save_weights\n"
        "folder = Path(sys.argv[1])\n"
        "Checkpoints(folder).save({'step': 2})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "big = torch.zeros(100_000)\n"
        "for write in (lambda: Checkpoints(folder).save({'step': 4, 'big': big}),\n"
        "              lambda: save_weights(folder / 'weights.safetensors', {'big': big}),\n"
        "              lambda: write_text(folder / 'long.txt', 'x' * 100_000)):\n"
        "    try:\n"
        "        write()\n"
        "    except DiskFullError as error:\n"
        "        print(error)\n"
        "print(Checkpoints(folder).load()['step'])\n"
    )
    done = processes.run(script, str(tmp_path))
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split("; ")[1] for line in lines[:3]] == ["free some and run the stage again."] * 3
    assert ["last.pt" in lines[0], "weights.safetensors" in lines[1], "long.txt" in lines[2]] == [True] * 3
    assert lines[3:] == ["2"]
    assert [path.name for path in tmp_path.iterdir()] == ["previous.pt"]


def test_nothing_but_data_is_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(2))
    checkpoints.save({"step": 4, "trap": Checkpoints(tmp_path)})
    assert checkpoints.load()["step"] == 2


def test_weights_and_their_metadata(tmp_path):
    path = tmp_path / "deep" / "weights.safetensors"
    tensor = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    save_weights(path, {"a": tensor, "b": torch.tensor(7)}, {"scales": "{}"})
    tensors, metadata = load_weights(path)
    assert torch.equal(tensors["a"], tensor)
    assert tensors["b"].item() == 7
    assert metadata == {"scales": "{}"}
    save_weights(path, {"a": tensor})
    assert load_weights(path)[1] == {}
    assert [p.name for p in path.parent.iterdir()] == ["weights.safetensors"]


def test_missing_and_broken_weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=r"weights.safetensors do not exist; run the stage that makes them"):
        load_weights(path)
    save_weights(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"are broken .*; delete the file and run its stage again"):
        load_weights(path)


# Inits


def pretrained() -> dict[str, torch.Tensor]:
    """Return a backbone's weights, every tensor of one value of its own."""
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), 3)
    names = [name for name in model.state_dict() if name.startswith("backbone.body.")]
    return {n: torch.full_like(model.state_dict()[n], number + 1) for number, n in enumerate(names)}


def test_init_of_an_fpn_detector():
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = pretrained()
    matched, unmatched = load_init(model, source)
    assert matched == len(source)
    assert unmatched == sorted(set(before) - set(source))
    assert "rpn.head.conv.0.0.weight" in unmatched
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.get(name, before[name])), name


def test_c4_detector_takes_the_last_stage_into_its_head():
    model = build_detector(tiny.spec("pod_frcnn_r50_c4_1x"), 3)
    source = pretrained()
    matched, unmatched = load_init(model, source)
    assert matched == len(source)
    assert all(name.startswith(("rpn.", "roi_heads.box_predictor.")) for name in unmatched)
    own = model.state_dict()
    moved = [name for name in own if name.startswith("roi_heads.box_head.layer4.")]
    assert moved
    for name in moved:
        assert torch.equal(own[name], source[name.replace("roi_heads.box_head.", "backbone.body.")]), name
    assert torch.equal(own["backbone.body.layer3.0.conv2.weight"], source["backbone.body.layer3.0.conv2.weight"])


def test_other_shapes_and_unknown_names_are_left_out_and_reported():
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), 3)
    before = model.state_dict()["backbone.body.conv1.weight"].clone()
    source = pretrained()
    source["backbone.body.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    source["fc.weight"] = torch.zeros(10, 10)
    matched, unmatched = load_init(model, source)
    assert matched == len(source) - 2
    assert "backbone.body.conv1.weight" in unmatched
    assert torch.equal(model.state_dict()["backbone.body.conv1.weight"], before)


def test_layers_of_a_method_keep_their_start():
    model = build_detector(tiny.spec("pod_frcnn_r50_fpn_1x_gsl"), 3)
    _, unmatched = load_init(model, pretrained())
    inside = [name for name in unmatched if name.startswith("backbone.body.")]
    assert inside == sorted(
        f"backbone.body.layer{stage}.0.conv2.scale_predictor.{part}"
        for stage in (2, 3, 4)
        for part in ("bias", "weight")
    )


def test_equal_weights_are_equal_bytes(tmp_path):
    """safetensors writes text metadata in an order that differs from one file to the next."""
    metadata = {f"name {number} ü\n": '"value"' for number in range(20)}
    files = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for file in files:
        save_weights(file, {"tensor": torch.arange(3.0)}, metadata)
    assert files[0].read_bytes() == files[1].read_bytes()
    tensors, read = load_weights(files[0])
    assert read == metadata
    assert tensors["tensor"].tolist() == [0, 1, 2]
