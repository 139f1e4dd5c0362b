"""What trainings start from: pre-trained backbones, and POD's learnt scales decomposed into networks."""


rule pretrain:
    input:
        code=paths.code_digest("pretrain"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("pretrain", "init"),
    output:
        weights=paths.init(PRESET, "{init}"),
        history=paths.history(PRESET, "{init}"),
        summary=paths.training_summary(PRESET, "{init}"),
    log:
        "logs/pretrain/{init}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("pretrain", "{init}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule classify:
    input:
        code=paths.code_digest("pretrain"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("classify", "classifier"),
    output:
        weights=paths.init(PRESET, "{classifier}"),
        history=paths.history(PRESET, "{classifier}"),
        summary=paths.training_summary(PRESET, "{classifier}"),
    log:
        "logs/pretrain/{classifier}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=dvc_repro("workflow/classifiers/dvc.yaml:classify@{classifier}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule fine_tune:
    input:
        code=paths.code_digest("pretrain"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("fine_tune", "tuned"),
    output:
        weights=paths.init(PRESET, "{tuned}"),
        history=paths.history(PRESET, "{tuned}"),
        summary=paths.training_summary(PRESET, "{tuned}"),
    log:
        "logs/pretrain/{tuned}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=dvc_repro("workflow/classifiers/dvc.yaml:fine_tune@{tuned}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule learn_scales:
    input:
        code=paths.code_digest("learn_scales"),
        preset=paths.preset_file(PRESET),
        recipe=recipe_of,
        experiment=experiment_file,
        manifest=paths.manifest(PRESET),
        weights=paths.weights(PRESET, "{gsl}"),
    output:
        scales=paths.scales(PRESET, "{gsl}"),
    log:
        "logs/learn_scales/{gsl}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=stage_of_name("learn_scales", "{gsl}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule decompose:
    input:
        code=paths.code_digest("decompose"),
        preset=paths.preset_file(PRESET),
        recipe=recipe_of,
        experiment=experiment_file,
        init=init_of,
        weights=paths.weights(PRESET, "{gsl}"),
        scales=paths.scales(PRESET, "{gsl}"),
    output:
        fd=paths.init(PRESET, "{gsl}_fd"),
        fd_wt=paths.init(PRESET, "{gsl}_fd_wt"),
    log:
        "logs/decompose/{gsl}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=stage_of_name("decompose", "{gsl}"),
    shell:
        "{params.dvc} > {log} 2>&1"
