"""Networks as ONNX files: ordinary convolutions with static integer dilations only (POD, section 1)."""

import copy
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from pipeline.files import replacing
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, PSConv2d
from pipeline.layers.static_psconv import StaticPSConv2d
from pipeline.models.backbones.deformable import DeformableConv2d

# Layers whose sampling positions depend on the input, and what to do about each.
DYNAMIC = {
    GlobalScaleConv2d: "decompose its learnt scales first (DecomposedConv2d)",
    DeformableConv2d: "a deformable convolution has no static form",
    DeformConv2d: "a deformable convolution has no static form",
}


class _Flat(nn.Module):
    """A network that returns its dictionary of outputs as a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(named_outputs(self.network(images)).values())


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Return a network's outputs by name: a dict's keys, `output` for one tensor, or `output_0`, ... for several."""
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, Tensor):
        return {"output": result}
    return {f"output_{index}": value for index, value in enumerate(result)}


def deployable(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose poly-scale convolutions are ordinary ones.

    Norms behind layers of several convolutions are folded into them, as runtimes do for a single convolution.

    Raises:
        ValueError: a layer whose sampling positions depend on its input.
    """
    for name, module in model.named_modules():
        for kind, advice in DYNAMIC.items():
            if isinstance(module, kind):
                raise ValueError(f"{name or 'The model'} is a {kind.__name__}, which moves with its input; {advice}.")
    model = copy.deepcopy(model).eval()
    if isinstance(model, PSConv2d):
        return StaticPSConv2d(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, PSConv2d):
            model.set_submodule(name, StaticPSConv2d(module))
    for module in list(model.modules()):
        fold_norms(module)
    return model


def fold_norms(block: nn.Module) -> None:
    """Fold a block's batch norm `bn2` into its layer `conv2` if that has several convolutions, in place."""
    for name, layer in list(block.named_children()):
        norm = getattr(block, name.replace("conv", "bn"), None)
        if isinstance(layer, DecomposedConv2d | StaticPSConv2d) and isinstance(norm, nn.BatchNorm2d):
            scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
            layer.affine_(scale, norm.bias.detach() - norm.running_mean * scale)
            setattr(block, name.replace("conv", "bn"), nn.Identity())


def export_onnx(
    model: nn.Module, path: str | Path, example: Tensor, metadata: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write a network as an ONNX file for inputs of exactly the example's shape; the bytes are reproducible.

    Args:
        model: maps one tensor to a tensor, several tensors or a dictionary of them; its mode and device do not matter.
        path: of the file, written atomically.
        example: an input [N, ...], named `images` in the file.
        metadata: text stored in the file.

    Returns:
        What `describe` returns for the file.

    Raises:
        ValueError: a layer without a static form (see `deployable`).
    """
    network = deployable(model).cpu().float()
    example = example.detach().cpu().float()
    with torch.inference_mode():
        names = list(named_outputs(network(example)))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            _Flat(network), (example,), input_names=["images"], output_names=names, dynamo=True, verbose=False
        )
    proto = program.model_proto
    _strip(proto)
    for key, value in sorted((metadata or {}).items()):
        proto.metadata_props.add(key=key, value=value)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return describe(path)


def _strip(proto: Any) -> None:
    """Remove the exporter's notes, whose stack traces name files of this machine."""
    graphs = [proto.graph, *proto.functions]
    notes = [proto, *graphs, *(node for graph in graphs for node in graph.node)]
    notes += [*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer]
    for note in notes:
        note.doc_string = ""
        if hasattr(note, "metadata_props"):
            del note.metadata_props[:]


def describe(path: str | Path) -> dict[str, Any]:
    """Return the shapes, operator counts and dilations (`1x2`: height 1, width 2) of an ONNX file.

    Raises:
        ValueError: a convolution without static integer dilations.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    dilations: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        found = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        sizes = found.get("dilations", [1, 1])
        if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(f"{path}: convolution {node.name!r} has no static integer dilations, found {sizes}.")
        dilations["x".join(map(str, sizes))] += 1
    return {
        "inputs": {value.name: _shape(value) for value in graph.input},
        "outputs": {value.name: _shape(value) for value in graph.output},
        "operators": dict(sorted(Counter(node.op_type for node in graph.node).items())),
        "dilations": dict(sorted(dilations.items())),
    }


def _shape(value: Any) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def run_onnx(path: str | Path, example: Tensor, threads: int = 1) -> dict[str, Tensor]:
    """Run an ONNX file in ONNX Runtime on the CPU and return its outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = session.run(None, {"images": example.detach().cpu().float().numpy()})
    return {output.name: torch.from_numpy(value) for output, value in zip(session.get_outputs(), values, strict=True)}
