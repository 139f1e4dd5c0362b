"""Where every number of a table comes from: the experiment's file, its result, what it costs, and the command."""

from functools import partial

from pipeline import markdown as md
from pipeline import paths
from pipeline.published.tables import Row
from pipeline.verdicts.comparison import Compared
from pipeline.verdicts.results import Results, load_experiment

UP = "../../.."  # from a page in a folder of a preset's report to the project's root


def sources_section(results: Results, table: str, compared: list[Compared], address: str) -> str:
    """Return what leads from a row to its experiment, result, cost and command; `address` is the stage's."""

    def trained(key: str, item: Compared) -> str:
        mean = (results.training(item.experiment) or {}).get(key)
        return "" if mean is None else md.integer(round(mean))

    def sized(key: str, unit: float, item: Compared) -> str:
        value = (results.size(item.experiment) or {}).get(key)
        return f"{value / unit:.3f}" if value else ""

    columns = [
        md.Column("Row", lambda item: item.row.name),
        md.Column("Experiment", lambda item: experiment_link(item.experiment)),
        md.Column("Result", lambda item: result_link(results, item.row, item.evaluation)),
        md.Column("Steps", partial(trained, "steps"), "r"),
        md.Column("Images", partial(trained, "images_seen"), "r"),
        md.Column("Parameters, M", partial(sized, "parameters_total", 1e6), "r"),
        md.Column("Multiply-adds, G", partial(sized, "macs", 1e9), "r"),
        md.Column("At full size", lambda item: load_experiment(item.experiment).notes.cost),
    ]
    text = "\n## Where the numbers come from\n\n"
    text += f"`dvc repro {address}` makes this table and whatever it needs; `snakemake --cores 2 FILE` any one file "
    text += "below. Published numbers: "
    text += f"[data/published]({UP}/{paths.published_file(table.split('_')[0]).as_posix()}), table `{table}`. "
    text += "Sizes are this preset's.\n\n"
    return text + md.table(columns, [item for item in compared if not item.row.id.startswith("stand_in__")])


def left_out(table: str, missing: list[Row]) -> str:
    """Return what a table says of the rows that it lacks: the headline's shows some only, others were not run."""
    hidden = sum(not row.shown for row in missing)
    text = ""
    if hidden:
        text += f"\n{md.plural(hidden, 'further row')} of this table {'is' if hidden == 1 else 'are'} not in the "
        text += f"headline; `dvc repro {table_address(table)}` makes the table with all rows.\n"
    if count := len(missing) - hidden:
        text += f"\n{md.plural(count, 'further row')} of this table {'is' if count == 1 else 'are'} not run under this "
        text += f"preset; the [CSV]({table}.csv) lists {'it' if count == 1 else 'them'}.\n"
    return text


def table_address(name: str, headline: bool = False) -> str:
    """Return the address of a table's stage, as `dvc repro` takes it from the root."""
    stage = f"headline_{name}" if headline else name
    return f"workflow/papers/{name.split('_')[0]}/tables/dvc.yaml:{stage}"


def experiment_link(experiment: str, up: str = UP, name: str = "") -> str:
    """Return a link to an experiment's file, under the name of one of its evaluations where it has one."""
    return f"[`{name or experiment}`]({up}/{paths.experiment_file(experiment).as_posix()})"


def result_link(results: Results, row: Row, evaluation: str) -> str:
    """Return a link to the file of our numbers, or the file's name where it is not there yet."""
    kind = row.source.kind if row.ours else "evaluation"
    experiment = paths.split_evaluation(evaluation)[0]
    if kind == "classifier":
        path = paths.training_summary(results.name, experiment)
    else:
        path = paths.metrics(results.name, evaluation)
    return f"[{path.name}](../metrics/{path.name})" if path.is_file() else f"`{path.as_posix()}`, not run"
