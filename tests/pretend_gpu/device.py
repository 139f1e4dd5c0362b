"""A CUDA device that is not there: real `cuda:0` tensors in CPU memory, with CUDA's rules about devices and waiting.

`install()` replaces every CUDA kernel of this process (with a CPU or a CUDA build of torch) by `kernel.cpp`'s.
Autograd, autocast, optimisers and torchvision run as for CUDA. Copies to the host that do not block arrive at the next
wait: until then their target holds NaN, or -99. cuDNN is off.

    with device.counted() as waits: ...      # Counter of (kind, operator, file:line)

It computes on the CPU. What it cannot show: kernels' own limits (asserts of indices, failed launches, memory), speed,
NCCL, cuDNN, CUDA graphs.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchgen
import torchvision  # noqa: F401  its operators must be there to be replaced

SOURCE = Path(__file__).with_name("kernel.cpp")
WAITING = (  # operators whose result's size or value the host needs
    "_local_scalar_dense nonzero masked_select equal _unique2 _unique unique_dim unique_consecutive bincount "
    "unique_dim_consecutive repeat_interleave.Tensor torchvision::nms is_set_to histc _linalg_check_errors"
)
MORE = "convolution convolution_backward copy_ _to_copy nonzero equal _local_scalar_dense set_.source_Storage"
MEMORY = 80 << 30

found: Counter[tuple[str, str, str]] | None = None
waited = 0  # times that the host has waited for the device so far
problems: list[str] = []  # memory of the host that was overwritten while a copy may still have read it


def has_compiler() -> bool:
    """Whether this machine can compile the kernel."""
    return shutil.which("g++") is not None


@contextlib.contextmanager
def counted() -> Iterator[Counter[tuple[str, str, str]]]:
    """Count what the host waits for, by kind, operator and place."""
    global found
    outer, found = found, Counter()
    try:
        yield found
    finally:
        found = outer


def note(kind: str, operator: str) -> None:
    """Take in an event of the kernel."""
    global waited
    waited += kind == "wait" or kind.startswith("copy")
    if kind.startswith("host buffer"):
        problems.append(f"{kind}: {place()}")
    if found is not None:
        found[kind, operator.removeprefix("aten::"), place()] += 1


def place() -> str:
    """Return file and line of the innermost frame of the project, else of all, else the thread's name."""
    frame, inner = sys._getframe(2), None
    while frame is not None:
        file = frame.f_code.co_filename
        here = f"{'/'.join(Path(file).parts[-2:])}:{frame.f_lineno}"
        if "/pipeline/" in file:
            return here
        if inner is None and not file.startswith("<") and "/torch/" not in file:
            inner = here
        frame = frame.f_back
    return inner or threading.current_thread().name


def compiled() -> ctypes.PyDLL:
    """Compile the kernel once for this version of torch and Python, and load it."""
    key = hashlib.sha256(f"{SOURCE.read_text()}{torch.__version__}{sys.version}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"pretend-gpu-{os.getuid()}"
    target = folder / f"{key}.so"
    if not target.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        root = Path(torch.__file__).parent
        include = [f"-I{root / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
        link = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
        new = target.with_suffix(f".{os.getpid()}")
        flags = ["-std=c++17", "-O0", "-w", "-shared", "-fPIC", *include]
        subprocess.run(["g++", *flags, str(SOURCE), "-o", str(new), *link], check=True)
        new.replace(target)
    return ctypes.PyDLL(str(target))


class Event:
    """`torch.cuda.Event`: waiting for it delivers copies. It has passed when the host has waited for anything since."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self.at, self.before = 0.0, waited

    def record(self, stream: Any = None) -> None:
        self.at, self.before = time.perf_counter(), waited

    def synchronize(self) -> None:
        note("wait", "Event.synchronize")
        library.pretend_wait()

    def query(self) -> bool:
        return waited > self.before

    def wait(self, stream: Any = None) -> None:
        pass

    def elapsed_time(self, other: Event) -> float:
        return (other.at - self.at) * 1e3


class Stream(contextlib.nullcontext):
    """`torch.cuda.Stream`: there is one, in which all is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(self)
        self.cuda_stream, self.device = 0, torch.device("cuda:0")

    def synchronize(self) -> None:
        synchronize()

    def wait_stream(self, other: Any) -> None:
        pass

    def wait_event(self, event: Event) -> None:
        pass

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record()
        return event


def synchronize(device: Any = None) -> None:
    note("wait", "cuda.synchronize")
    library.pretend_wait()


def set_device(device: Any) -> None:
    index = device if isinstance(device, int) else torch.device(device).index
    if index:
        raise RuntimeError("CUDA error: invalid device ordinal (one pretended GPU)")


def clone(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    new = torch.empty(storage.nbytes(), dtype=torch.uint8, device=storage.device).untyped_storage()
    return new.copy_(storage, False)


def install(capability: tuple[int, int] = (9, 0)) -> None:
    """Make `cuda` a device of this process, for good; `capability` is what `torch.cuda` tells of it."""
    global library
    library = compiled()
    library.pretend_start.argtypes, library.pretend_start.restype = [ctypes.py_object], ctypes.c_char_p
    library.pretend_operator.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    library.pretend_operator.restype = ctypes.c_char_p
    library.pretend_start(note)
    replace_operators()
    replace_functions(capability)


def replace_operators() -> None:
    """Register the kernel for every operator that CUDA has."""
    functions = (Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml").read_text()
    loose = {part.split("(")[0].strip() for part in functions.split("\n- func:") if "device_check: NoCheck" in part}
    waiting = {name if "::" in name else f"aten::{name}" for name in WAITING.split()}
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    names = {n for n in torch._C._dispatch_get_all_op_names() if has(n, "CUDA") and not n.startswith("_inductor")}
    for name in sorted(names | {f"aten::{n}" for n in MORE.split()}):
        base, _, overload = name.partition(".")
        checked = name.startswith("aten::") and name[6:] not in loose
        error = library.pretend_operator(base.encode(), overload.encode(), checked, name in waiting)
        if error:
            raise RuntimeError(f"{name}: {error.decode()}")


def replace_functions(capability: tuple[int, int]) -> None:
    """Let `torch.cuda` and `torch.accelerator` tell of one device."""
    properties = types.SimpleNamespace(
        name="Pretended GPU",
        major=capability[0],
        minor=capability[1],
        total_memory=MEMORY,
        multi_processor_count=132,
        gcnArchName="",
        warp_size=32,
        shared_memory_per_block_optin=232448,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=2048,
        L2_cache_size=50 << 20,
    )
    same = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_initialized": True,
        "get_device_name": "Pretended GPU",
        "get_device_capability": capability,
        "get_device_properties": properties,
        "get_rng_state": torch.zeros(16),
        "mem_get_info": (MEMORY, MEMORY),
        "is_current_stream_capturing": False,
        "_check_bf16_tensor_supported": True,
    }
    same |= dict.fromkeys(["_lazy_init", "manual_seed", "manual_seed_all", "empty_cache", "set_rng_state", "seed"])
    same["reset_peak_memory_stats"] = None
    same |= dict.fromkeys(["memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"], 0)
    for name, value in same.items():
        setattr(torch.cuda, name, lambda *_, _value=value, **__: _value)
    torch.cuda._initialized = True
    torch.cuda.synchronize, torch.cuda.set_device = synchronize, set_device
    torch.cuda.Event, torch.cuda.Stream = Event, Stream
    torch.cuda.current_stream = torch.cuda.default_stream = Stream
    torch.cuda.stream = contextlib.nullcontext
    torch.backends.cudnn.enabled = False
    torch.accelerator.is_available = lambda *_: True
    torch.accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
    torch.accelerator.current_device_index = torch.accelerator.current_device_idx = lambda: 0
    torch.accelerator.set_device_index = lambda *_: None
    torch.accelerator.device_count = lambda: 1
    torch.UntypedStorage.clone = clone
    torch.Tensor.pin_memory = lambda self, device=None: self.clone()
    torch.Tensor.is_pinned = lambda self, device=None: False
