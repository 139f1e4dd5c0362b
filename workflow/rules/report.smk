"""Figures, gallery, a page for each paper, the index (`quickstart`), all tables (`catalogue`), everything (`report`)."""


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
        detections=analysis_deps("gallery", "paper"),
    output:
        page=paths.gallery(PRESET) / "{paper}.md",
        picture=paths.gallery(PRESET) / "{paper}.png",
    log:
        "logs/gallery/{paper}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("gallery@{paper}"),
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


rule compare:
    input:
        code=paths.code_digest("compare"),
        preset=paths.preset_file(PRESET),
        results=deps_of("compare"),
    output:
        page=report(
            paths.compared(PRESET),
            caption="../report/compare.rst",
            category="Index",
        ),
    log:
        "logs/compare.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("compare"),
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


rule catalogue:
    input:
        code=paths.code_digest("catalogue"),
        preset=paths.preset_file(PRESET),
        results=deps_of("catalogue"),
    output:
        page=report(
            paths.catalogue(PRESET),
            caption="../report/catalogue.rst",
            category="Index",
        ),
    log:
        "logs/catalogue.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("catalogue"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule claims:
    input:
        code=paths.code_digest("claims"),
        preset=paths.preset_file(PRESET),
        results=deps_of("claims"),
    output:
        page=report(
            paths.claims(PRESET),
            caption="../report/claims.rst",
            category="Index",
        ),
        data=paths.claims(PRESET).with_suffix(".csv"),
        papers=[paths.claims(PRESET, paper) for paper in paths.PAPERS],
    log:
        "logs/claims.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("claims"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule methods:
    input:
        code=paths.code_digest("methods"),
        preset=paths.preset_file(PRESET),
        results=deps_of("methods"),
    output:
        page=report(
            paths.methods(PRESET),
            caption="../report/methods.rst",
            category="Index",
        ),
        data=paths.methods(PRESET).with_suffix(".csv"),
    log:
        "logs/methods.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("methods"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule cards:
    input:
        code=paths.code_digest("cards"),
        preset=paths.preset_file(PRESET),
        results=deps_of("cards"),
    output:
        cards=directory(paths.cards(PRESET)),
    log:
        "logs/cards.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("cards"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule paper_figures:
    input:
        code=paths.code_digest("paper_figures"),
        preset=paths.preset_file(PRESET),
        results=deps_of("paper_figures"),
    output:
        figures=directory(outs_of("paper_figures")[0]),
    log:
        "logs/paper_figures.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=dvc_repro("paper_figures"),
    shell:
        "{params.dvc} > {log} 2>&1"


rule report:
    input:
        code=paths.code_digest("report"),
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
