"""What stages depend on."""

import re
from pathlib import Path

import yaml

from pipeline import config, paths
from pipeline.graph import declared
from pipeline.verdicts.results import load_experiment

PRESET = yaml.safe_load((paths.ROOT / "params.yaml").read_text())["preset"]
KINDS = ("pretrain", "classify", "fine_tune")


def load(path):
    return yaml.safe_load((paths.ROOT / path).read_text())


def test_the_quickstart_trains_no_further_init_and_the_report_all_of_them():
    stages = declared.stages()
    quickstart, report = (declared.ancestors(target, stages) for target in ("quickstart", "report"))
    for kind in ("pretrain@", "decompose@"):
        made = {address for address in stages if kind in address}
        assert {address for address in made if "workflow/further" not in address} == made & quickstart
        assert made - report == {address for address in made if "_gsl_conv2" in address}  # no FD starts from it
    assert "code" in quickstart
    assert not any("workflow/further" in address or "workflow/classifiers" in address for address in quickstart)


def test_every_stage_depends_on_its_digest_and_pages_on_the_preset():
    for stage in declared.stages().values():
        script, key = re.search(r"stages\.(\w+)(?: (?!-)(\S+))?", stage.command).groups()
        preset = "full" if script == "plan" else PRESET
        assert stage.command.endswith(f"--preset {preset}")
        if script != "code":
            digest = paths.code_digest(PRESET, script, "" if script in ("table", "gallery") else key or "")
            assert [dep for dep in stage.deps if dep.startswith("data/code/")] == [digest.as_posix()], stage.address
        if script in ("table", "page", "figures", "gallery", "identities", "plan", "fetch"):
            assert paths.preset_file(preset).as_posix() in stage.deps, stage.address


def test_every_experiment_depends_on_what_its_file_names_and_on_nothing_else():
    known = {address.rpartition(":")[2]: stage for address, stage in declared.stages().items()}
    made = {out for stage in known.values() for out in stage.outs}
    inits = (path.stem for path in Path("workflow/inits").iterdir())
    for name in [*config.experiments(), *config.combinations(), *inits]:
        experiment = load_experiment(name)
        manifest = config.resolve(name, PRESET).manifest
        inits = [experiment.init, experiment.region and experiment.region.second_init]
        inits = [paths.init(PRESET, init) for init in inits if init and init != "none"]
        if experiment.detector == "classifier":
            (kind,) = (kind for kind in KINDS if f"{kind}@{name}" in known)
            like = experiment.like
            more = [place(PRESET, like) for place in (paths.init, paths.training_summary, paths.history) if like]
            stages = {f"{kind}@{name}": ("pretrain", name, [paths.manifest(PRESET), *inits, *more])}
        else:
            proposals = [paths.proposals(PRESET, experiment.proposals, "train")] if experiment.proposals else []
            stages = {f"train@{name}": ("train", name, [manifest, *inits, *proposals])}
        for test, options in experiment.tests.items() if experiment.detector != "classifier" else ():
            evaluation, source = paths.evaluation_name(name, test), options.proposals or experiment.proposals
            files = [paths.weights(PRESET, network) for network in (name, *options.members)]
            files += [paths.proposals(PRESET, source, "val")] if source else []
            kind = "search_ranges" if options.search_ranges else "predict"
            stages[f"{kind}@{evaluation}"] = "predict", evaluation, [manifest, *files]
            detections = paths.detections(PRESET, evaluation)
            stages[f"evaluate@{evaluation}"] = "evaluate", evaluation, [manifest, detections]
        for short, (script, key, deps) in stages.items():
            wanted = {file.as_posix() for file in deps}
            assert set(known[short].deps) == wanted | {paths.code_digest(PRESET, script, key).as_posix()}, short
            assert wanted <= made, short
