"""One published table with our numbers beside it, and its rows that the quickstart shows. A DVC stage lists the rows."""


rule table:
    input:
        code=paths.code_digest("table"),
        preset=paths.preset_file(PRESET),
        rows=rows_of_table,
    output:
        page=report(
            paths.table(PRESET, "{table}"),
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        data=paths.table(PRESET, "{table}", "csv"),
    log:
        "logs/table/{table}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=table_stage,
    shell:
        "{params.dvc} > {log} 2>&1"


rule headline:
    input:
        code=paths.code_digest("table"),
        preset=paths.preset_file(PRESET),
        rows=rows_of_table,
    output:
        page=report(
            paths.headline(PRESET, "{headline}"),
            caption="../report/table.rst",
            category="Headline tables",
            labels={"table": "{headline}"},
        ),
        data=paths.headline(PRESET, "{headline}", "csv"),
    log:
        "logs/headline/{headline}.log",
    conda:
        "../envs/reproduce.yaml"
    params:
        dvc=table_stage,
    shell:
        "{params.dvc} > {log} 2>&1"
