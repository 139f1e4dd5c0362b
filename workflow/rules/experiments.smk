"""The stages of every experiment: train, propose (SNIP only), predict (may use a GPU), evaluate (never does), measure."""


rule train:
    input:
        code=paths.code_digest("train"),
        preset=paths.preset_file(PRESET),
        recipe=recipe_of,
        experiment=experiment_file,
        manifest=manifest_of,
        init=init_of,
        second_init=second_init_of,
        proposals=proposals_of("train"),
    output:
        weights=paths.weights(PRESET, "{experiment}"),
        history=paths.history(PRESET, "{experiment}"),
        summary=paths.training_summary(PRESET, "{experiment}"),
    log:
        "logs/train/{experiment}.log",
    # Long jobs first: what is short fills the gap beside the last of them.
    priority: 1
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("train", "{experiment}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule propose:
    input:
        code=paths.code_digest("propose"),
        preset=paths.preset_file(PRESET),
        recipe=recipe_of,
        experiment=experiment_file,
        manifest=paths.manifest(PRESET),
        weights=paths.weights(PRESET, "{proposing}"),
    output:
        train=paths.proposals(PRESET, "{proposing}", "train"),
        val=paths.proposals(PRESET, "{proposing}", "val"),
    log:
        "logs/propose/{proposing}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("propose", "{proposing}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule search_ranges:
    input:
        code=paths.code_digest("search_ranges"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("search_ranges", "searched"),
    output:
        ranges=paths.metrics(PRESET, "{searched}_ranges"),
    log:
        "logs/search_ranges/{searched}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("search_ranges", "{searched}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule predict:
    input:
        code=paths.code_digest("predict"),
        preset=paths.preset_file(PRESET),
        recipe=recipe_of,
        experiment=experiment_file,
        manifest=manifest_of,
        weights=paths.weights(PRESET, "{experiment}"),
        proposals=proposals_of("val"),
        members=members_of,
    output:
        detections=paths.run(PRESET, "{experiment}") / "detections_{test}.json",
    log:
        "logs/predict/{experiment}__{test}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("predict", "{experiment}__{test}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule evaluate:
    input:
        code=paths.code_digest("evaluate"),
        preset=paths.preset_file(PRESET),
        manifest=manifest_of,
        detections=detections_of,
    output:
        metrics=paths.metrics(PRESET, "{evaluation}"),
        bootstrap=paths.bootstrap(PRESET, "{evaluation}"),
    log:
        "logs/evaluate/{evaluation}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=stage_of_name("evaluate", "{evaluation}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule measure:
    input:
        code=paths.code_digest("measure"),
        preset=paths.preset_file(PRESET),
        printed=paths.published_file("pod"),
        recipe=recipe_of,
        experiment=experiment_file,
    output:
        size=paths.size(PRESET, "{experiment}"),
    log:
        "logs/measure/{experiment}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=stage_of_name("measure", "{experiment}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule measure_classifier:
    input:
        code=paths.code_digest("measure"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("measure", "measured"),
    output:
        size=paths.size(PRESET, "{measured}"),
    log:
        "logs/measure/{measured}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("workflow/classifiers/dvc.yaml:measure@{measured}"),
    shell:
        "{params.dvc} > {log} 2>&1"
