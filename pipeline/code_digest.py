"""What a stage's result depends on besides its files: one small digest for each, which DVC and Snakemake watch.

A digest has two parts. `settings:` are the options that the stage reads, resolved from its experiment, recipe and
preset. `code:` are the modules that its script can import or that its experiment selects, each with the SHA-256 of its
code. So an edit re-runs exactly the stages that can use what was edited.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from pipeline import config, files, parts, paths
from pipeline.closure import PACKAGE, Closure
from pipeline.errors import InputError
from pipeline.preset import Preset
from pipeline.settings import others, preset_settings, settings
from pipeline.spec import Spec

SEEN = Path("data/scratch/code_seen.txt")
SETTINGS, CODE = "settings:\n", "code:\n"


def entries(root: Path = paths.ROOT) -> dict[Path, tuple[str, str]]:
    """Return script and key of every digest that the active preset's stages depend on, by its path.

    The key is what the stage's command names (an experiment, an evaluation, a page), empty where it names nothing.
    """
    from pipeline.graph import declared  # here: a training, which asks for its own digest only, needs no graph

    folder = paths.code_digest(config.active_preset(root), "").parent
    found = {Path(dep) for stage in declared.stages(root).values() for dep in stage.deps}
    inside = sorted(path for path in found if folder in path.parents)
    return {path: (*path.relative_to(folder).with_suffix("").parts, "")[:2] for path in inside}


def digest(
    script: str, key: str, preset: Preset, closure: Closure, resolve: Callable[[str], Spec] | None = None
) -> str:
    """Return the text of one digest.

    Args:
        script: name of the stage's module.
        key: what its command names, or empty.
        preset: the active one.
        closure: of the package.
        resolve: gives an experiment's specification under the preset.

    Raises:
        InputError: no such script or experiment, or a module that is not valid Python.
    """
    from pipeline.reporting.modules import module_of  # here: a training, which asks for its own digest only, has none

    module = f"{PACKAGE}.stages.{script}"
    if closure.file(module) is None:
        raise InputError(f"Stage {script!r} has no module {PACKAGE}/stages/{script}.py; write it or correct the name.")
    named = module_of(script, key)
    if not key or named:  # a page or figure, or a stage of the preset alone
        found = closure.of(module) | (closure.of(named) if named else set())
        return text_of(preset_settings(preset, script), closure.lines(found))
    name, test = paths.split_evaluation(key)
    spec = resolve(name) if resolve else config.specification(name, preset)
    return experiment_digest(script, spec, test, closure)


def experiment_digest(script: str, spec: Spec, test: str = "single", closure: Closure | None = None) -> str:
    """Return the digest of a stage of one experiment; `test` is the one that the stage runs, if it runs any."""
    closure = closure or package(paths.ROOT)
    lines, selected = list(settings(spec, script, test)), parts.parts(spec, script)
    for other in others(spec, script, test):
        lines += [f"{other.name}: {line}" for line in settings(other, script, test)]
        selected += parts.parts(other, script)
    return text_of(lines, closure.lines(closure.of(f"{PACKAGE}.stages.{script}", selected)))


def text_of(settings_lines: Iterable[str], code: Iterable[str]) -> str:
    """Return a digest's text."""
    return "".join([SETTINGS, *(f"{line}\n" for line in settings_lines), CODE, *(f"{line}\n" for line in code)])


def split(text: str) -> tuple[str, str]:
    """Return a digest's settings and its code, each without its heading."""
    before, _, after = text.partition(CODE)
    return before.removeprefix(SETTINGS), after


def current(root: Path = paths.ROOT) -> dict[Path, str]:
    """Return what every digest has to be, by its path."""
    closure, preset = Closure(root), config.load_preset(config.active_preset(root))
    recipe_of = cache(config.load_recipe)
    resolve = cache(lambda name: config.specification(name, preset, recipe_of))
    return {path: digest(*entry, preset, closure, resolve) for path, entry in entries(root).items()}


def stale(root: Path = paths.ROOT) -> list[str]:
    """Return the digests that are missing, no longer what they have to be, or of no stage any more, by their names.

    Making all of them takes seconds, which every dry run of Snakemake would pay. So what was found current is
    remembered by one hash over the bytes of everything that was read; any other byte, and they are made again.
    """
    found = bytes_of(root)
    remembered = root / SEEN
    if remembered.is_file() and remembered.read_text("utf-8") == found:
        return []
    outdated = list(changes(root))
    if not outdated:
        files.write_text(remembered, found)
    return [path.relative_to("data/code").with_suffix("").as_posix() for path in outdated]


def changes(root: Path) -> dict[Path, str | None]:
    """Return the digests to write, with their text, and those to remove, with None."""
    wanted = current(root)
    folder = root / "data/code"
    there = [path.relative_to(root) for path in [*folder.glob("*.txt"), *preset_folder(root).rglob("*.txt")]]
    written = {path: (root / path).read_text("utf-8") for path in there}
    found: dict[Path, str | None] = {path: text for path, text in wanted.items() if written.get(path) != text}
    return found | {path: None for path in there if path not in wanted}


def write(root: Path = paths.ROOT) -> list[str]:
    """Write the digests that changed, each atomically, remove those of no stage, and return the names of all these."""
    found = changes(root)
    for path, text in found.items():
        if text is None:
            (root / path).unlink()
        else:
            files.write_text(root / path, text)
    return [path.relative_to("data/code").with_suffix("").as_posix() for path in found]


def preset_folder(root: Path) -> Path:
    """Return the folder of the active preset's digests."""
    return root / paths.code_digest(config.active_preset(root), "").parent


def bytes_of(root: Path) -> str:
    """Return one hash over names and bytes of all modules, declarations and digests."""
    whole = hashlib.sha256()
    declarations = [root / paths.PARAMS, root / "dvc.yaml", *(root / "workflow").rglob("*.yaml")]
    for path in sorted([*(root / PACKAGE).rglob("*.py"), *declarations, *(root / "data/code").rglob("*.txt")]):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


@cache
def package(root: Path) -> Closure:
    """Return the closure of the package below `root`, as it is when a process first asks."""
    return Closure(root)


def training_digest(script: str, spec: Spec) -> str:
    """Return the digest of a training, its code as the stage `code` wrote it, or as it is where that never ran."""
    path = paths.code_digest(spec.preset.name, script, spec.name)
    if not path.is_file():
        return experiment_digest(script, spec)
    return text_of(settings(spec, script), split(path.read_text("utf-8"))[1].splitlines())
