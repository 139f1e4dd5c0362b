"""What is looked at besides AP: weights, scales, receptive fields, exported networks, printed costs."""


rule weight_share:
    input:
        code=paths.code_digest("weight_share"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("weight_share", "weighed"),
    output:
        numbers=paths.weight_share(PRESET, "{weighed}"),
        data=paths.figure(PRESET, "{weighed}_weight_share").with_suffix(".csv"),
        figure=paths.figure(PRESET, "{weighed}_weight_share"),
    log:
        "logs/weight_share/{weighed}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("weight_share@{weighed}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule weight_share_classifier:
    input:
        code=paths.code_digest("weight_share"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("weight_share_classifier", "weighed_cls"),
    output:
        numbers=paths.weight_share(PRESET, "{weighed_cls}"),
        data=paths.figure(PRESET, "{weighed_cls}_weight_share").with_suffix(".csv"),
        figure=paths.figure(PRESET, "{weighed_cls}_weight_share"),
    log:
        "logs/weight_share/{weighed_cls}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("weight_share_classifier@{weighed_cls}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule receptive_field:
    input:
        code=paths.code_digest("receptive_field"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("receptive_field"),
    output:
        all=outs_of("receptive_field"),
    log:
        "logs/receptive_field.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("receptive_field"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule offsets:
    input:
        code=paths.code_digest("offsets"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("offsets", "offset"),
    output:
        numbers=paths.offsets(PRESET, "{offset}"),
    log:
        "logs/offsets/{offset}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=dvc_repro("offsets@{offset}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule scale_stability:
    input:
        code=paths.code_digest("scale_stability"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("scale_stability"),
    output:
        all=outs_of("scale_stability"),
    log:
        "logs/scale_stability.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("scale_stability"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule export:
    input:
        code=paths.code_digest("export"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("export", "exported"),
    output:
        network=paths.onnx(PRESET, "{exported}"),
        numbers=paths.export(PRESET, "{exported}"),
    log:
        "logs/export/{exported}.log",
    conda:
        "../envs/reproduce.yaml"
    threads: THREADS
    resources:
        mem="3GB",
        gpu=1,
    params:
        dvc=dvc_repro("export@{exported}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule loss_share:
    input:
        code=paths.code_digest("loss_share"),
        preset=paths.preset_file(PRESET),
        rest=analysis_deps("loss_share", "shared"),
    output:
        numbers=paths.loss_share(PRESET, "{shared}"),
    log:
        "logs/loss_share/{shared}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("loss_share@{shared}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule dst_figures:
    input:
        code=paths.code_digest("dst_figures"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("dst_figures"),
    output:
        all=outs_of("dst_figures"),
    log:
        "logs/dst_figures.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("dst_figures"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule identities:
    input:
        code=paths.code_digest("identities"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("identities"),
    output:
        page=paths.identities(PRESET),
        numbers=paths.metrics(PRESET, "identities"),
    log:
        "logs/identities.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("identities"),
    shell:
        "{params.dvc} > {log} 2>&1"
