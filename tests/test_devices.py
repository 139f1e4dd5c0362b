"""GPUs that PyTorch cannot use are named in one sentence; all by stand-ins for the driver."""

import pytest
import torch

from pipeline import devices
from pipeline.errors import InputError
from pipeline.machine import loader_workers
from pipeline.training import distributed
from pipeline.training.precision import choose_precision, pick_device

BUILT = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "compute_120"]  # PyTorch 2.11 with CUDA 13


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch):
    """Return a function that stands in for a driver: its GPUs' compute capabilities, or what its start says."""

    def stand_in(*capabilities: tuple[int, int], fails: str = "") -> None:
        def start() -> None:
            raise RuntimeError(fails)

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "init", start)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capabilities[number])
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: BUILT)

    return stand_in


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((7, 0), False), ((7, 5), True), ((8, 0), True), ((8, 9), True), ((9, 0), True), ((12, 1), True), ((13, 0), True)],
)
def test_a_build_runs_on_newer_gpus_of_one_major_number_and_its_ptx_on_all(capability, runs):
    assert devices.has_code(capability, BUILT) == runs
    assert devices.has_code(capability, [])


def test_without_a_gpu_there_is_the_cpu(driver):
    driver(fails="No CUDA GPUs are available")
    assert devices.gpus() == 0
    assert devices.why_none() == "No CUDA GPUs are available"
    assert pick_device().type == "cpu"
    assert devices.described(pick_device()).startswith("the CPU (")


def test_a_driver_that_is_too_old_is_no_reason_to_train_on_the_cpu(driver):
    driver(fails="The NVIDIA driver on your system is too old (found version 11040). Please update it.")
    with pytest.raises(InputError) as error:
        pick_device()
    assert "too old (found version 11040) (docs/full.md names the driver" in str(error.value)


def test_a_gpu_older_than_the_build_is_named(driver):
    driver((8, 0), (7, 0))
    with pytest.raises(
        InputError, match=r"^GPU 1 has compute capability 7\.0, and PyTorch .* has code for sm_75 sm_80"
    ):
        pick_device()


def test_a_process_without_a_gpu_of_its_own_is_named(driver, monkeypatch):
    driver((8, 0))
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="Process 2 of this machine has no GPU, because PyTorch sees 1"):
        distributed.joined().__enter__()


@pytest.mark.parametrize(("emulated", "expected"), [(False, "bf16"), (True, "fp16")])
def test_auto_takes_no_bf16_that_is_emulated(monkeypatch, emulated, expected):
    import tiny

    supported = lambda including_emulation=True: including_emulation or not emulated  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_precision(tiny.preset(precision="auto"), torch.device("cuda")) == expected


@pytest.mark.parametrize(
    ("avx512", "amx", "usable", "expected"),
    [
        (True, False, True, "bf16"),
        (False, True, True, "bf16"),
        (False, False, True, "fp32"),
        (True, True, False, "fp32"),
    ],
)
def test_auto_takes_bf16_on_a_cpu_with_units_that_onednn_may_use(monkeypatch, avx512, amx, usable, expected):
    import tiny

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: usable)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # whatever this processor has
    assert choose_precision(tiny.preset(precision="auto"), torch.device("cpu")) == expected


@pytest.mark.parametrize(("processes", "expected"), [("1", 8), ("8", 2), ("32", 1)])
def test_processes_of_a_machine_share_its_processors_for_loading(driver, monkeypatch, tmp_path, processes, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCALEWISE_WORKERS", raising=False)
    driver((8, 0))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(16))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert loader_workers() == expected
