"""Whole networks as ONNX files in ONNX Runtime on a CPU, timed like the others and profiled by its own profiler."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from pipeline.benchmarks.cases import Case, random_input
from pipeline.benchmarks.networks import BATCH, network
from pipeline.benchmarks.timing.profiles import CALLS, TOP, summarise
from pipeline.benchmarks.timing.rounds import Call
from pipeline.models.export import export_onnx

EXPORTED = ("plain", "psconv", "fd")  # a global scale learner has no static form


class OnnxCall:
    """A network that is exported once; a call runs the file on one input, with torch's number of threads."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(model, path, x)
            self.model = path.read_bytes()
        self.feed = {"images": x.numpy()}
        self.session = onnxruntime.InferenceSession(self.model, self.options(), providers=["CPUExecutionProvider"])

    @staticmethod
    def options() -> onnxruntime.SessionOptions:
        found = onnxruntime.SessionOptions()
        found.intra_op_num_threads = torch.get_num_threads()
        found.log_severity_level = 3
        return found

    def __call__(self) -> Any:
        return self.session.run(None, self.feed)

    def shares(self) -> dict[str, Any]:
        """Return the shares of time by ONNX operator, in the form of `profiles.operator_shares`."""
        with tempfile.TemporaryDirectory() as folder:
            options = self.options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
            for _ in range(CALLS):
                session.run(None, self.feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return summarise(node_times(events), TOP)


def node_times(events: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (operator, calls, ms) per run of the network from ONNX Runtime's events of `CALLS` runs."""
    found: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found.setdefault(event["args"]["op_name"], []).append(event["dur"])
    return [(name, len(micros) / CALLS, sum(micros) / CALLS / 1000) for name, micros in found.items()]


def onnx_cases(quick: bool) -> Iterator[Case]:
    """Yield classification in ONNX Runtime, in its own memory format."""
    side, batch, preset = (64, 1, "mini") if quick else (224, BATCH["cpu"], "full")

    def calls() -> dict[str, Call]:
        x = random_input((batch, 3, side, side), "fp32", "cpu", torch.contiguous_format)
        found: dict[str, Call] = {}
        for name in EXPORTED:
            torch.manual_seed(0)
            found[name] = OnnxCall(network(name, preset=preset), x)
        return found

    yield Case("onnx", {"batch": batch, "height": side, "width": side}, "fp32", "forward", calls, 4.0)
