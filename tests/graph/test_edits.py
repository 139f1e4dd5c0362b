"""An edit retrains exactly what it can change: edits by name, and the set of trainings whose digests they touch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pipeline import code_digest, config, paths
from pipeline.closure import Closure
from pipeline.files import read_yaml
from pipeline.spec import Spec

Named = dict[str, str]  # digests by script and experiment
SCRIPT = """
import json
from pathlib import Path
from test_edits import digests
print(json.dumps(digests(Path().resolve())))
"""


@cache
def specs() -> dict[str, Spec]:
    """Return the specification of everything that is trained under preset mini, by script and name."""
    preset = config.load_preset("mini")
    inits = [path.stem for path in (paths.ROOT / "workflow/inits").glob("*.yaml")]
    found = [config.specification(n, preset) for n in (*config.experiments(), *config.combinations(), *inits)]
    return {f"{'pretrain' if s.experiment.detector == 'classifier' else 'train'}/{s.name}": s for s in found}


def digests(root: Path) -> Named:
    """Return the digests of all trainings, and of tables, which are stages of no experiment."""
    closure, preset = Closure(root), config.load_preset("mini")
    found = {k: code_digest.experiment_digest(k.split("/")[0], s, closure=closure) for k, s in specs().items()}
    return found | {"table": code_digest.digest("table", "", preset, closure)}


@pytest.fixture(scope="module")
def before() -> Named:
    return digests(paths.ROOT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project that a test may edit."""
    for name in ("pipeline", "workflow"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "params.yaml").write_text("preset: mini\nmachine: {workers: 7}\n")
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text that a file holds."""
    text = file.read_text()
    assert old in text, f"{file} holds no {old!r}"
    file.write_text(text.replace(old, new, 1))


def touched(before: Named, after: Named) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def having(condition: Callable[[Spec], object]) -> set[str]:
    """Return the trainings whose specification fulfils a condition."""
    found = {name for name, spec in specs().items() if condition(spec)}
    assert found
    return found


def fixed_psconv(spec: Spec) -> bool:
    options = spec.experiment.method.psconv
    return options is not None and not options.learnable_mask


ADDED = "import torch\n\nX = 1\n"
CODE = {  # an edit of code: the file, what is replaced by what, and which trainings it touches
    "a report path": ("paths.py", "report = ", 'leaflet = Place("reports/{preset}/leaflet.md")\nreport = ', None),
    "a page's wording": ("reporting/tables.py", '"""\n\n', '"""\n\nWORDS = "new"\n', None),
    "a docstring": ("training/loop.py", '"""The training loop', '"""A training loop', None),
    "a comment": ("training/loop.py", "    model.train()\n", "    # Go.\n    model.train()\n", None),
    "PSConv": ("layers/psconv.py", "import torch\n", ADDED, fixed_psconv),
    "DST's feedback": (
        "training/feedback.py",
        "import torch\n",
        ADDED,
        lambda s: s.experiment.method.collage is not None,
    ),
    "FCOS": ("models/detectors/fcos.py", "1e-6", "1e-7", lambda s: s.experiment.detector == "fcos"),
    "dual path networks": (
        "models/backbones/dpn.py",
        "EPSILON = 1e-3",
        "EPSILON = 1e-4",
        lambda s: "dpn" in s.experiment.backbone + str(s.experiment.region),
    ),
    "SNIP": (
        "training/snip.py",
        "from pipeline",
        "X = 1\nfrom pipeline",
        lambda s: s.experiment.method.snip is not None,
    ),
    "an optimiser that none uses": ("training/optimizers/sgd.py", "import torch\n", ADDED, None),
    "the optimiser of preset mini": ("training/optimizers/adamw.py", "import torch\n", ADDED, lambda s: True),
    "the training loop": ("training/loop.py", "import torch\n", ADDED, lambda s: True),
}


@pytest.mark.parametrize("edit", CODE)
def test_an_edit_of_code(before, project, edit):
    file, old, new, condition = CODE[edit]
    change(project / "pipeline" / file, old, new)
    expected = having(condition) if condition else set()
    assert touched(before, digests(project)) - {"table"} == expected


def test_an_edit_of_a_page_reaches_its_stage(before, project):
    change(project / "pipeline/reporting/tables.py", '"""\n\nfrom', '"""\n\nWORDS = "new"\nfrom')
    assert touched(before, digests(project)) == {"table"}


def elsewhere(project: Path) -> Named:
    """Return the digests as the edited project itself makes them, its options read by its own classes."""
    path = [str(project), *(str(paths.ROOT / "tests" / name) for name in ("", "graph"))]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{SCRIPT}"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_added_and_left_at_its_default_retrains_nothing(before, project):
    detectors, optimizers = project / "pipeline/models/detectors", project / "pipeline/training/optimizers"
    shutil.copy(detectors / "fcos.py", detectors / "new_net.py")
    shutil.copy(optimizers / "sgd.py", optimizers / "lion.py")
    options, preset = project / "pipeline/options.py", project / "pipeline/preset.py"
    change(options, '        "fcos",\n', '        "fcos",\n        "new_net",\n')
    change(options, "class Method(", "class Words(Options):\n    x: int = 3\n\n\nclass Method(")
    last = "    snip: SnipOptions | None = None\n"
    change(options, last, f"{last}    words: Words = Words()\n    other: Words | None = None\n")
    change(preset, "    ema: Average", "    extra: int = 3\n    ema: Average")
    change(project / "workflow/presets/mini.yaml", "name: mini", "# a comment\nname: mini")
    change(project / "workflow/presets/mini.yaml", "title: mini", "title: Mini")
    change(project / "workflow/schedules/dst.yaml", "source:", "flip: 0.5\nsource:")  # as by default
    note = project / paths.experiment_file("dst_frcnn_r50_fpn_1x")
    change(note, "notes:", "neck: fpn\nnotes:")
    assert touched(before, elsewhere(project)) <= {"table"}  # whose page shows the title


def test_a_default_that_changes_retrains_what_leaves_it_out(before, project):
    change(
        project / "pipeline/options.py",
        "    warmup_iterations: CountOrZero = 500",
        "    warmup_iterations: CountOrZero = 600",
    )
    change(project / "pipeline/preset.py", "    roi_batch: Candidates = 512", "    roi_batch: Candidates = 256")
    recipes = (paths.ROOT / "workflow/schedules").glob("*.yaml")
    silent = {path.stem for path in recipes if "warmup_iterations" not in read_yaml(path)}
    assert touched(before, elsewhere(project)) == having(lambda spec: spec.experiment.recipe in silent)


def test_an_option_touches_the_stages_that_read_it(before, project):
    change(project / "workflow/presets/mini.yaml", "pretrain_steps: 1300", "pretrain_steps: 1301")
    change(project / "workflow/presets/mini.yaml", "scale_images: 500", "scale_images: 400")
    expected = {name for name in before if name.startswith("pretrain/")}
    assert touched(before, elsewhere(project)) - {"table"} == expected
