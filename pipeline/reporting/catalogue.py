"""The catalogue of a preset: every table that was made, and what was looked at besides AP."""

from __future__ import annotations

from pipeline import paths
from pipeline.files import read_json, write_text
from pipeline.reporting import markdown as md
from pipeline.reporting.comparison import QUICKSTART
from pipeline.reporting.context import comparability, numbers_of
from pipeline.reporting.index_page import count_row
from pipeline.reporting.published import find_table
from pipeline.reporting.results import Results

EXPORTED = ("pod_frcnn_r50_fpn_1x_fd", "pod_frcnn_r50_fpn_1x_fd_wt", "psconv_frcnn_r50_fpn_1x_psconv")


def write_catalogue(preset: str) -> None:
    """Write `catalogue.md` of a preset: every table that was made, with its verdicts."""
    write_text(paths.index(preset).with_name("catalogue.md"), catalogue_page(Results(preset)))


def catalogue_page(results: Results) -> str:
    """Return the list of all tables that were made under a preset."""
    names = sorted(path.stem for path in paths.table(results.name, "x").parent.glob("*.csv"))
    order = list(QUICKSTART)
    names.sort(key=lambda name: order.index(name.split("_")[0]) if name.split("_")[0] in order else 99)
    rows, compared, decided = [], 0, 0
    for name in names:
        row, counts = count_row(results, name)
        rows.append([row[0], md.cell(find_table(name)[1].title), *row[1:]])
        compared, decided = compared + counts.compared, decided + counts.decided
    text = f"# All tables, preset {results.name}\n\n{numbers_of(results)} {comparability(results)}\n\n"
    text += f"{md.plural(len(names), 'table')}; decided by AP: **{decided} of {compared}** compared rows. "
    text += "A row occurs in several tables where the paper prints it in several. [Back](index.md).\n\n"
    text += md.table(["Table", "Shows", "Compared", "Decided", "Verdicts", "Not run"], rows, "llrrlr")
    return text + analyses_section(results)


def analyses_section(results: Results) -> str:
    """Link the analyses, and list the networks that were exported."""
    text = "\n## Besides AP\n\n- [Parameters and multiply-adds](identities.md): printed, worked out and counted.\n"
    text += (
        "- ![Stability of learnt scales](figures/scale_stability.png)\n  How far learnt scales vary over images and "
    )
    text += "splits, beside a deformable network's offsets. [Data](figures/scale_stability.csv).\n"
    rows = []
    for name in EXPORTED:
        path = paths.export(results.name, name)
        if path.is_file():
            found = read_json(path)
            difference = f"{found['largest_difference']:.1e} of {found['largest_output']:.3g}"
            rows.append([f"`{name}`", found["contents"], found["weights"], difference])
    text += "\nNetworks as ONNX files with whole dilations only, checked in ONNX Runtime:\n\n"
    return text + md.table(["Experiment", "Holds", "Weights", "Largest difference from PyTorch"], rows, "llll")
