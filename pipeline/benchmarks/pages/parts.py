"""What the pages of benchmarks share: the machine, and how a median and its ends are written."""

from typing import Any

from pipeline.markdown import number, plural

DEVICES = {"cpu": "a CPU", "cuda": "a GPU"}


def heading(title: str, result: dict[str, Any], small: str = "", layout: str = "channels_last") -> str:
    """Return the head of a device's page: its title, what is to be known where it is not full size, its machine."""
    remark = "" if result["preset"] == "full" or not small else f"**Not at the papers' size: {small}.**\n\n"
    return f"# {title} on {DEVICES[result['device']]}\n\n{remark}{machine_line(result['machine'], layout)}\n"


def machine_line(machine: dict[str, Any], layout: str = "channels_last") -> str:
    """Return what the benchmark ran on, in one sentence or two."""
    gpu = ""
    if machine.get("gpu"):
        tf32 = "on" if machine["tf32"] else "off"
        gpu = f"{machine['gpu']}, CUDA {machine['cuda']}, cuDNN {machine['cudnn']}, TF32 {tf32} in fp32; "
    limit = f", oneDNN limited to {machine['onednn_limit']}" if machine.get("onednn_limit") else ""
    text = (
        f"{gpu}{machine['cpu']} ({machine['instructions']}{limit}), {plural(machine['threads'], 'thread')} on "
        f"{plural(machine['cores'], 'core')}, torch {machine['torch']}, {layout}."
    )
    load = machine.get("load_before")
    return text if load is None else f"{text} Load of the machine before the run: {load:.2f}."


def spread(found: dict[str, float], digits: int = 2, to: str = " to ", mark: str = "") -> str:
    """Return `12.1 (11.8 to 12.6)`: median, between marks, and quartiles."""
    low, high = number(found["low"], digits), number(found["high"], digits)
    return f"{mark}{number(found['median'], digits)}{mark} ({low}{to}{high})"


def ratio_cell(ratio: dict[str, float]) -> str:
    """Return `1.12 (1.10–1.15)`: median and quartiles of a ratio."""
    return spread(ratio, 2, "–")


def bracketed(found: dict[str, float], mark: str = "") -> str:
    """Return `1.013 [1.003, 1.023]`: a ratio, between marks, with its interval."""
    return f"{mark}{number(found['ratio'], 3)}{mark} [{number(found['low'], 3)}, {number(found['high'], 3)}]"
