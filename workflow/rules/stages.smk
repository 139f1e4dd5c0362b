"""One rule for each kind of stage that the dvc.yaml files declare: what a stage reads and writes is said there alone."""

for kind in KINDS:

    rule:
        name:
            kind.name
        input:
            inputs(kind),
        output:
            outputs(kind),
        log:
            kind.log,
        wildcard_constraints:
            **{name: "|".join(sorted(values)) for name, values in kind.values.items()},
        # Long jobs first, and what they wait for: what is short fills the gap beside the last of them.
        priority: int(kind.name in ("train", "propose"))
        conda:
            "../envs/reproduce.yaml"
        threads: THREADS if kind.name in RESOURCES else 1
        resources:
            **{"gpu": 0} | RESOURCES.get(kind.name, {}),
            tries=lambda wildcards, attempt: attempt,
        params:
            stage=lambda wildcards, maker=maker(kind): maker(wildcards).address,
        shell:
            "exec python -m pipeline.graph.job {params.stage} --log {log} --gpus {resources.gpu} --attempt {resources.tries}"


# A test whose ranges are searched has detections of the same name as one that takes them from its file.
if any(kind.name == "search_ranges" for kind in KINDS):

    ruleorder: search_ranges > predict
