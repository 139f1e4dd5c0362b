"""PSConv's speeds (section 4.2 and appendix G) beside those of the layers benchmark, which belong to a machine."""

from functools import partial
from typing import Any

from pipeline import markdown as md
from pipeline import paths
from pipeline.published.rows import Speed
from pipeline.published.tables import Published, Row, Table
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word

DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def is_speeds_table(table: Table) -> bool:
    return any(row.speed for row in table.rows)


def measured(results: Results, row: Row) -> float | None:
    """Return our milliseconds or ratio of a row; None where the benchmark was not run on that device."""
    return row.speed.value(results.speeds(row.speed.device)) if row.speed else None


def state(results: Results, row: Row) -> Word:
    """Return what stands in the place of a verdict: speeds of other hardware are shown, never judged."""
    if row.absent:
        return Word.NOT_REPRODUCIBLE
    return Word.NOT_RUN if measured(results, row) is None else Word.MEASURED


def speeds_markdown(results: Results, published: Published, table: Table) -> str:
    """Return the page of the table of speeds."""
    text = f"# {table.id}: {table.title}\n\n{published.paper.title} ({published.paper.year}), {table.split}.\n\n"

    def ours(row: Row) -> str:
        value = measured(results, row)
        return _text(value) if value is not None else md.MISSING if row.absent else md.NOT_RUN

    columns = [
        md.Column("Row", lambda row: row.name),
        md.Column("Unit", lambda row: row.factors.get("unit")),
        md.Column("Published", lambda row: _text(row.values.get("value")), "r"),
        md.Column("Ours", ours, "r"),
        md.Column("Ours on", lambda row: row.speed and DEVICES[row.speed.device]),
        md.Column("State", partial(state, results)),
        md.Column("How", lambda row: row.absent or how(row.speed)),
    ]
    rows = [row for row in table.rows if row.ours]
    text += md.table(columns, rows)
    count = sum(state(results, row) == Word.MEASURED for row in rows)
    text += f"\n**{count} of {md.plural(len(rows), 'row')} measured.** Speeds belong to a machine: they are the same "
    text += "under every preset, a CPU's milliseconds are no GPU's, and none has a verdict.\n\n"
    for device in sorted({row.speed.device for row in table.rows if row.speed}):
        text += f"- {_machine(results, device)}\n"
    return text


def speeds_csv(results: Results, table: Table) -> list[dict[str, Any]]:
    """Return the table in the long form of all tables."""
    lines = []
    for row in (row for row in table.rows if row.ours):
        value = measured(results, row)
        line = {"kind": "speed", "row": row.id, "label": row.name, "method": row.factors.get("method", "")}
        line |= {"evaluation": row.source.name, "metric": "value", "unit": row.factors.get("unit", "")}
        line |= {"published": _text(row.values.get("value")), "ours": _text(value) if value is not None else ""}
        lines.append(line | {"verdict": state(results, row), "why": row.absent})
    return lines


def how(speed: Speed) -> str:
    """Return what was timed, in words."""
    size = ", ".join(f"{key} {value}" for key, value in speed.case.items())
    what = f"`{speed.name}` over `{speed.over}`" if speed.over else f"`{speed.name}`"
    return f"{what}, {speed.group}, {size}, fp32, forward"


def _machine(results: Results, device: str) -> str:
    """Return which machine a device's times are of, or the command that would measure them."""
    found = results.speeds(device)
    path = paths.layer_benchmark(device).as_posix()
    if found is None:
        command = f"`python -m pipeline.benchmarks.layers --device {device}`"
        return f"{DEVICES[device]}: not run; {command} writes `{path}`."
    machine = found["machine"]
    name = machine.get(device) or machine.get("gpu") or machine.get("cpu")
    return f"{DEVICES[device]}: {name}, torch {machine['torch']}; the paper's is a Titan X (`{path}`)."


def _text(value: float | None) -> str:
    return "" if value is None else md.number(value, 2 if value < 100 else 0)
