"""Code digests and data: ScaleWorld or a user's own, checked into a manifest, and its statistics."""


rule code:
    input:
        package=ancient("pipeline"),
    output:
        digests=outs_of("code"),
    log:
        "logs/code.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("code"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule synthesize:
    input:
        code=paths.code_digest("synthesize"),
        preset=paths.preset_file(PRESET),
    output:
        images=directory(paths.raw(PRESET)),
    log:
        "logs/synthesize.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("synthesize"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule fetch:
    input:
        code=paths.code_digest("fetch"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("fetch"),
    output:
        receipt=paths.fetched(PRESET),
    log:
        "logs/fetch.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro(ADDRESS["fetch"]),
    shell:
        "{params.dvc} > {log} 2>&1"


rule plan:
    input:
        code=paths.code_digest("plan"),
        preset=paths.preset_file(PRESET),
        rest=deps_of("plan"),
    output:
        page=report(
            paths.plan(PRESET),
            caption="../report/plan.rst",
            category="Index",
            labels={"page": "costs"},
        ),
        data=paths.plan(PRESET, "csv"),
    log:
        "logs/plan.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro(ADDRESS["plan"]),
    shell:
        "{params.dvc} > {log} 2>&1"


rule verify:
    input:
        code=paths.code_digest("verify"),
        preset=paths.preset_file(PRESET),
        images=paths.raw(PRESET),
    output:
        manifest=paths.manifest(PRESET),
        splits=outs_of("verify", f"data/interim/{PRESET}/")[1:],
        page=report(
            f"reports/{PRESET}/data.md",
            caption="../report/data.rst",
            category="Data",
            labels={"page": "verification"},
        ),
    log:
        "logs/verify.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("verify"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule verify_voc:
    input:
        code=paths.code_digest("verify"),
        preset=paths.preset_file(PRESET),
        images=paths.raw(PRESET),
    output:
        manifest=paths.manifest(PRESET, "voc"),
        splits=outs_of("verify_voc", f"data/interim/{PRESET}/")[1:],
        page=report(
            paths.data_page(PRESET, "voc"),
            caption="../report/data.rst",
            category="Data",
            labels={"page": "verification, PASCAL VOC"},
        ),
    log:
        "logs/verify_voc.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro(ADDRESS["verify_voc"]),
    shell:
        "{params.dvc} > {log} 2>&1"


rule statistics:
    input:
        code=paths.code_digest("statistics"),
        preset=paths.preset_file(PRESET),
        manifest=paths.manifest(PRESET),
    output:
        numbers=paths.metrics(PRESET, "statistics"),
        figure=report(
            paths.figure(PRESET, "statistics"),
            caption="../report/statistics.rst",
            category="Data",
            labels={"page": "statistics"},
        ),
        data=paths.figure(PRESET, "statistics").with_suffix(".csv"),
    log:
        "logs/statistics.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("statistics"),
    shell:
        "{params.dvc} > {log} 2>&1"
