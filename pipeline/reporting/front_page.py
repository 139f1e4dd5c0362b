"""The way into a preset's report: README.md, which forges show with the folder."""

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import read_json, write_text
from pipeline.published.papers import NAMES
from pipeline.reporting.context import HOW, numbers_of
from pipeline.reporting.facts import figure_data
from pipeline.verdicts.results import Results

EXPORTED = ("pod_frcnn_r50_fpn_1x_fd", "pod_frcnn_r50_fpn_1x_fd_wt", "psconv_frcnn_r50_fpn_1x_psconv")


def write_front_page(preset: str) -> None:
    """Write `README.md` of a preset's report."""
    write_text(paths.report(preset), front_page(Results(preset)))


def front_page(results: Results) -> str:
    """Return the page that links all others, with what was looked at besides AP."""
    text = f"# Report of preset {results.name}\n\n{numbers_of(results)}\n\n"
    text += "- [The answer](index.md): which method helps small objects here, and can one tell?\n"
    text += f"- [How results are measured and judged]({HOW}), said once for all pages\n"
    text += "- [How far the evidence carries](evidence.md): what could be told from nothing, and running it again\n"
    text += "- [All tables](catalogue.md): every table that the papers print, published beside ours\n"
    text += "- [Every result as one CSV](results.csv): a row for each evaluation and training, to load\n"
    text += "- [Claims](claims.md): what the papers claim, what holds here, and what cannot be told\n"
    text += "- [Methods side by side](methods.md): by object size, cost and latency, and combinations no paper tried\n"
    text += "- [Figures of the papers](paper_figures/README.md), drawn from these results\n"
    text += "- [Model cards](cards/README.md): every trained network behind the headline\n"
    text += "- [What the papers' sizes cost](../full/plan.md): GPU-hours, wall time and disk of every table\n"
    links = [f"[{NAMES[paper]}](papers/{paper}.md)" for paper in paths.PAPERS]
    text += f"- The papers: {md.listing(links)}\n"
    return text + analyses_section(results)


def analyses_section(results: Results) -> str:
    """Link the analyses, and list the networks that were exported."""
    text = "\n## Besides AP\n\n- [Parameters and multiply-adds](identities.md): printed, worked out and counted.\n"
    if (voc := paths.data_page(results.name, "voc")).is_file():
        text += f"- [Data of PASCAL VOC's rows]({voc.name}): what was read, and what was left out and why.\n"
    if figure_data(results, "scale_stability"):
        text += "- ![Stability of learnt scales](figures/scale_stability.png)\n  How far learnt scales vary over "
        text += "images and splits, beside a deformable network's offsets. [Data](figures/scale_stability.csv).\n"
    else:
        text += f"- Stability of learnt scales beside a deformable network's offsets: {md.NOT_RUN}.\n"
    found = {name: read_json(path) for name in EXPORTED if (path := paths.export(results.name, name)).is_file()}
    if not found:
        return f"{text}- Networks as ONNX files: {md.NOT_RUN}.\n"
    columns = [
        md.Column("Experiment", lambda name: f"`{name}`"),
        md.Column("Holds", lambda name: found[name]["contents"]),
        md.Column("Weights", lambda name: found[name]["weights"]),
        md.Column(
            "Largest difference from PyTorch",
            lambda name: "{largest_difference:.1e} of {largest_output:.3g}".format_map(found[name]),
        ),
    ]
    text += "\nNetworks as ONNX files with whole dilations only, checked in ONNX Runtime:\n\n"
    return text + md.table(columns, found)
