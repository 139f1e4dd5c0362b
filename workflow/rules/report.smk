"""Figures, gallery, a page for each paper, the index (`quickstart`) and the catalogue of all tables (`report`)."""


rule figures:
    input:
        code=paths.code_digest("figures"),
        preset=paths.preset_file(PRESET),
        results=deps_of("figures"),
    output:
        data=[out for out in outs_of("figures") if out.endswith(".csv")],
        figures=report(
            [out for out in outs_of("figures") if out.endswith(".png")],
            caption="../report/figures.rst",
            category="Figures",
        ),
    log:
        "logs/figures.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("figures"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule gallery:
    input:
        code=paths.code_digest("gallery"),
        preset=paths.preset_file(PRESET),
        detections=deps_of("gallery"),
    output:
        pictures=directory(paths.gallery(PRESET)),
    log:
        "logs/gallery.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("gallery"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule page:
    input:
        code=paths.code_digest("page"),
        preset=paths.preset_file(PRESET),
        results=parts_of_page,
    output:
        page=report(
            paths.page(PRESET, "{paper}"),
            caption="../report/page.rst",
            category="Papers",
            labels={"paper": "{paper}"},
        ),
    log:
        "logs/page/{paper}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("page_{paper}"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule quickstart:
    input:
        code=paths.code_digest("index"),
        preset=paths.preset_file(PRESET),
        results=deps_of("quickstart"),
    output:
        page=report(
            paths.index(PRESET),
            caption="../report/index.rst",
            category="Index",
        ),
    log:
        "logs/quickstart.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("quickstart"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule report:
    input:
        code=paths.code_digest("catalogue"),
        preset=paths.preset_file(PRESET),
        results=deps_of("report"),
    output:
        page=outs_of("report"),
    log:
        "logs/report.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("report"),
    shell:
        "{params.dvc} > {log} 2>&1"
