"""Run every distinct network of the experiments at the papers' input size: one training step, one inference.

`python -m pipeline.benchmarks.architectures --device cpu` writes reports/benchmarks/cpu_architectures.{json,md}; with
`--device cuda` they are gpu_architectures. Each network runs in its own process. An interrupted run continues when it
is started again, and `--limit 3` stops after three networks. A network is measured again when its options or the
machine change and, with `--again`, when the code that it can reach did; each row has the digest of its code.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import files, paths
from pipeline.benchmarks.command import command_line, prepare, report_file, run_command, write_report
from pipeline.benchmarks.pages.architectures import architectures_page
from pipeline.closure import Closure
from pipeline.config import experiments, resolve
from pipeline.errors import InputError
from pipeline.options import Method
from pipeline.spec import Spec

WORKER = "pipeline.benchmarks.one_step"
LAYERS = ("global_scale", "decomposed", "psconv", "deformable", "fusion")
KILLED = -9  # return code of a process that the system ended, mostly for lack of memory


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is not measured yet; write the JSON after each network and the page at the end. Return the JSON."""
    if options.limit is not None and options.limit < 0:
        raise InputError(f"--limit is {options.limit}, but must be 0 or more; leave it out to run all networks.")
    machine, path = prepare(options), report_file(options, "architectures")
    known = {row["digest"]: row for row in files.read_json(path)["rows"]} if path.is_file() else {}
    code, kind = code_digest(), machine_kind(machine)
    networks = distinct([resolve(name, options.preset) for name in experiments()])
    digests = [digest(network, kind, options.preset, options.precision) for network in networks]
    result = {
        "device": options.device,
        "preset": options.preset,
        "precision": options.precision,
        "machine": machine,
        "networks": len(networks),
        "code": code,
        "rows": [],
    }
    left = len(networks) if options.limit is None else options.limit
    for number, (network, key) in enumerate(zip(networks, digests, strict=True), 1):
        row = known.get(key)
        if left > 0 and (row is None or (options.again and row["code"] != code)):
            left -= 1
            found = run(network["experiment"], options)
            row = {"digest": key, "code": code, **network, **found}
            print(f"[{number}/{len(networks)}] {network['experiment']}: {told(found)}", file=sys.stderr, flush=True)
        if row is not None:
            known[key] = row
        result["rows"] = [
            known[each] | network for each, network in zip(digests, networks, strict=True) if each in known
        ]
        files.write_json(path, result)
    return write_report(path, result, architectures_page)


def distinct(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """Return every network once, under the name of its first experiment, with the names of all."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        network = architecture(spec)
        key = json.dumps(network, sort_keys=True)
        found.setdefault(key, {"experiment": spec.name, **network, "experiments": []})["experiments"].append(spec.name)
    return list(found.values())


def architecture(spec: Spec) -> dict[str, Any]:
    """Return what determines a network and its input: detector, backbone, neck, a method's layers, sizes.

    A recipe's frozen norms and stages, and a data set's number of classes, do not distinguish networks.
    """
    experiment, region, plain = spec.experiment, spec.experiment.region, Method()
    layers = {
        name: msgspec.to_builtins(getattr(experiment.method, name))
        for name in LAYERS
        if getattr(experiment.method, name) != getattr(plain, name)
    }
    if layers.keys() & {"global_scale", "decomposed"}:
        layers["scale_stages"] = list(experiment.method.scale_stages)
    return {
        "detector": experiment.detector,
        "backbone": experiment.backbone,
        "neck": experiment.neck,
        "stem": experiment.stem,
        "layers": layers,
        "region": region and {"pooling": region.pooling, "second_backbone": region.second_backbone},
        "rpn": msgspec.to_builtins(experiment.rpn),
        "resolution": experiment.resolutions.side if experiment.resolutions else None,
        "input": [spec.recipe.short_side, spec.recipe.long_side],
    }


def digest(network: dict[str, Any], *circumstances: str) -> str:
    """Return the key of a measurement, from the network, the machine, the preset and the number format."""
    asked = {name: value for name, value in network.items() if name not in ("experiment", "experiments")}
    return hashlib.sha256("/".join([json.dumps(asked, sort_keys=True), *circumstances]).encode()).hexdigest()[:16]


def code_digest() -> str:
    """Return the hash of all our code that a measurement can run."""
    return Closure(paths.ROOT).digest(WORKER)


def machine_kind(machine: dict[str, Any]) -> str:
    """Return the parts of a machine that determine its times."""
    return json.dumps([machine.get(name) for name in ("gpu", "cpu", "threads", "torch")])


def run(experiment: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in its own process; a failure is the last line that the process wrote."""
    command = [sys.executable, "-m", WORKER, experiment, "--preset", options.preset, "--device", options.device]
    command += ["--precision", options.precision, "--threads", str(options.threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, cwd=paths.ROOT)
    except subprocess.TimeoutExpired:
        return {"failure": f"not done after {options.seconds:g} s"}
    if done.returncode == 0:
        return {"found": json.loads(done.stdout.splitlines()[-1])}
    if done.returncode == KILLED:
        return {"failure": "the system ended the process, for want of memory most likely"}
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return {"failure": said[-1].strip() if said else f"ended with return code {done.returncode}"}


def told(found: dict[str, Any]) -> str:
    """Return a measurement as one line of text."""
    if "failure" in found:
        return f"FAILED, {found['failure']}"
    parts = [(name, found["found"][name]) for name in ("training", "inference")]
    return ", ".join(f"{name} {part['seconds']:.1f} s {part['peak_mib']:.0f} MiB" for name, part in parts)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = command_line(__doc__, preset="full", precision="fp32", threads=0)
    found.add_argument("--limit", type=int, help="networks to measure in this run (default: all)")
    found.add_argument("--again", action="store_true", help="measure anew what ran with other code")
    found.add_argument("--seconds", type=float, default=1800.0, help="longest time of one network")
    return found


if __name__ == "__main__":
    result = run_command(main, parser())
    sys.exit(1 if any("failure" in row for row in result["rows"]) else 0)
