"""One published table with our numbers beside it. Its rows are what its DVC stage depends on."""


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
