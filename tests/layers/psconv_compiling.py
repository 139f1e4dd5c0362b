"""PSConv's kernels compiled ahead of time for a GPU that need not be there: registers spilled, shared memory used."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.layers import psconv_triton

KERNELS = {
    "forward": psconv_triton._forward_kernel,
    "input": psconv_triton._input_kernel,
    "weight": psconv_triton._weight_kernel,
}
POINTERS = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}
SHARED = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KB of a block at most (CUDA's programming guide)
ONES = {"x_channel", "y_channel", "g_channel", "w_in", "in_step", "out_step", "stride"}  # block layout, channels_last
PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin"


class Compiled(NamedTuple):
    """What a kernel takes."""

    spilled: int  # bytes of registers
    shared: float  # KB


def source(kernel: str, dtype: torch.dtype, channels: int, precision: str) -> tuple[ASTSource, dict[str, int]]:
    """Return a kernel specialised as a launch on blocks of `channels` channels would, and its compiler's options."""
    function = KERNELS[kernel]
    tiles = psconv_triton._tiles(channels, channels, dtype)
    if kernel == "weight":
        tiles = psconv_triton._weight_tiles(channels, channels)
    options = {name: tiles.pop(name) for name in ("num_warps",) if name in tiles}
    constants = {"rows": 4, "columns": 4, "height": channels, "width": channels, "SIZE": 3, "PRECISION": precision}
    constants |= tiles | ({"STEPS": 32} if kernel == "weight" else {}) | dict.fromkeys(ONES, 1)
    signature, values, attributes = {}, {}, {}
    for place, name in enumerate(function.arg_names):
        if name in constants:
            signature[name], values[(place,)] = "constexpr", constants[name]
            continue
        if name.endswith("_ptr"):
            signature[name] = {"table_ptr": "*i32", "gw_ptr": "*fp32"}.get(name, POINTERS[dtype])
        else:
            signature[name] = "i32"
        if name not in psconv_triton._SIZES:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(function, signature, values, attributes), options


def compiled(
    architecture: int, kernel: str, dtype: torch.dtype, channels: int, precision: str, folder: Path
) -> Compiled:
    """Compile a kernel for sm_<architecture>, with files in a folder."""
    specialised, options = source(kernel, dtype, channels, precision)
    found = triton.compile(specialised, GPUTarget("cuda", architecture, 32), options)
    file = folder / f"{kernel}.ptx"
    file.write_text(found.asm["ptx"])
    name = re.search(r"^\.target (sm_\w+)", found.asm["ptx"], re.MULTILINE)[1]
    assembler = PTXAS / ("ptxas-blackwell" if architecture >= 100 else "ptxas")
    command = [str(assembler), "-v", f"--gpu-name={name}", str(file), "-o", str(file.with_suffix(".o"))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return Compiled(int(re.search(r"(\d+) bytes spill stores", told)[1]), found.metadata.shared / 1024)
