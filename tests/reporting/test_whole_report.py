"""The whole report: every link leads somewhere, and numbers on pages are those of files, found again cell by cell.

The same checks run over a report of made-up results and over the committed one.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_results import read_csv

from pipeline import markdown as md
from pipeline import paths
from pipeline.published.columns import NAMES, sign_of
from pipeline.published.tables import find_table, load_published
from pipeline.reporting.figures.headline import draw_figures
from pipeline.reporting.figures_page import write_figures_page
from pipeline.reporting.modules import PAGES, load
from pipeline.reporting.tables import write_table
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.methods import METHODS

COLUMNS = {name: column for column, name in NAMES.items()}
# made by other stages
OTHERS = r"gallery|statistics\.png|data(_voc)?\.md|identities\.md|receptive_field|weight_share|scale_stability|dst_"
BUILT: list[Path] = []  # the made-up report, once it was built


def build() -> None:
    """Write every page that needs results alone."""
    for table in (table for paper in paths.PAPERS for table in load_published(paper).tables):
        write_table(table.id, "mini")
    for name in headline_tables():
        write_table(name, "mini", headline=True)
    draw_figures("mini")
    for name in (name for name in PAGES if name != "compare"):
        load("page", name)(*([name] if name in paths.PAPERS else []), "mini")
    write_figures_page("mini")


@pytest.fixture
def made_up(fake, tmp_path_factory) -> Path:
    """A report of results that differ in every number, in a copy of a test's own."""
    if not BUILT:
        fill(fake)
        build()
        BUILT.append(Path(shutil.copytree(Path.cwd(), tmp_path_factory.mktemp("report") / "built")))
    else:
        shutil.copytree(BUILT[0], Path.cwd(), dirs_exist_ok=True)
    return Path("reports/mini")


def fill(fake) -> None:
    for place, pair in enumerate(METHODS):
        for name, shift in ((pair.baseline, 0.0), (pair.evaluation, 0.0317 + 0.0101 * place)):
            ap = 0.2034 + 0.0113 * place + shift
            sizes = {"ap_small": ap - 0.0521, "ap_medium": ap + 0.1013, "ap_large": ap + 0.0507}
            fake.evaluation(name, ap, (-0.011, 0.013), **sizes)
            experiment = paths.split_evaluation(name)[0]
            snip = "snip" in name.split("7ep")[-1]
            fake.training(experiment, 0.4 if shift else None, {"1400": 0.5, "800": 0.7, "480": 0.2} if snip else None)
            fake.size(experiment, 1_596_272 + 1000 * place, 1_086_280_000)
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.25)
    fake.noise()


@pytest.fixture
def committed(monkeypatch) -> Path:
    """The report in git."""
    monkeypatch.chdir(paths.ROOT)
    return Path("reports/mini")


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.md"))


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://", "#", "mailto:")):
            yield link.partition("#")[0]


def broken(folder: Path, root: Path, unless: str = "") -> list[tuple[str, str]]:
    """Return (page, link) of every link that leads nowhere; what lies outside the report lies below `root`."""
    found = []
    for page, link in [(where, link) for where in pages(folder) for link in links(where)]:
        target = (page.parent / link).resolve()
        inside = target.is_relative_to(Path.cwd())
        there = inside and (target.exists() or (root / target.relative_to(Path.cwd())).exists())
        if not there and not (unless and re.search(unless, link)):
            found.append((page.as_posix(), link))
    return found


def test_every_link_of_a_made_up_report_leads_somewhere(made_up):
    assert broken(made_up, paths.ROOT, unless=OTHERS) == []
    assert sum(len(list(links(page))) for page in pages(made_up)) > 500


def test_every_link_of_the_committed_reports_and_documents_leads_somewhere(monkeypatch, committed):
    assert broken(committed, paths.ROOT) == []
    documents = [paths.ROOT / "README.md", *sorted((paths.ROOT / "docs").glob("*.md"))]
    wrong = [(page.name, link) for page in documents for link in links(page) if not (page.parent / link).exists()]
    assert wrong == []


def rows_of(page: Path, first: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the tables of a page whose first column has a name, by column."""
    header: list[str] = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")] if line.startswith("| ") else []
        if not cells:
            header = []
            continue
        cells = [cells[0].removeprefix("| "), *cells[1:-1], cells[-1].removesuffix(" |").removesuffix("|")]
        if not header:
            header = cells
        elif header[0] == first and not cells[0].startswith(":-"):
            yield dict(zip(header, cells, strict=False))


def metrics(folder: Path, evaluation: str) -> dict | None:
    path = folder / "metrics" / f"{evaluation}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def gain_of(folder: Path, evaluation: str, baseline: str, metric: str) -> float:
    """Return the mean difference of two files over the blocks that both have."""
    ours, base = (found.get("blocks", [found]) for name in (evaluation, baseline) for found in [metrics(folder, name)])
    gains = [one[metric] - other[metric] for one, other in zip(ours, base, strict=False)]
    return sum(gains) / len(gains)


def check_table(folder: Path, name: str, headline: bool) -> int:
    """Find every cell of a table of scores in data/published and in a metrics file; return how many were found."""
    _, table = find_table(name, headline)
    place = folder / ("headline" if headline else "tables")
    lines = {(x["row"], x["metric"]): x for x in read_csv(place / f"{name}.csv") if x["kind"] == "row"}
    by_key = {(line["label"], line["evaluation"]): line["row"] for line in lines.values()}
    found = 0
    for cells in rows_of(place / f"{name}.md", "Row"):
        if "Blocks ±" not in cells or "_cls_" in cells["Row"]:
            continue
        label, evaluation = re.fullmatch(r"(.*)<br>`(.*)`", cells["Row"]).groups()
        row = table.row(by_key[label.replace("\\|", "|"), evaluation])
        ours = metrics(folder, evaluation)
        for title in set(cells) & set(COLUMNS):
            column = COLUMNS[title]
            printed = row.values.get(column) if row else None
            value = md.NOT_RUN if ours is None else md.percent(ours.get(column))
            assert cells[title] == f"{md.as_printed(printed)} → {value}", (name, label, title)
            found += 1
            line = lines.get((row.id if row else f"stand_in__{evaluation}", column))
            if line and line["baseline"] and line["our_gain"]:
                gain = gain_of(folder, evaluation, line["baseline"], column)
                assert line["our_gain"] == md.percent(sign_of(column) * gain)
                found += 1
    return found


def check_cells(folder: Path) -> int:
    found = sum(check_table(folder, t.id, False) for paper in paths.PAPERS for t in load_published(paper).tables)
    return found + sum(check_table(folder, name, True) for name in headline_tables())


def check_claims(folder: Path) -> int:
    """Every part on a claims page is a line of claims.csv, and its numbers are a line of a table's CSV."""
    parts, found = read_csv(folder / "claims.csv"), 0
    for paper in paths.PAPERS:
        shown = [(row["Published"], row["Ours"]) for row in rows_of(folder / "claims" / f"{paper}.md", "Claim")]
        assert shown == [(part["published"], part["ours"]) for part in parts if part["paper"] == paper]
    for part in parts:
        source = part["sources"].split()[0] if part["sources"] else ""
        if part["ours"] and source.startswith("tables/"):
            lines = read_csv((folder / source).with_suffix(".csv"))
            gains = {float(line["our_gain"]) for line in lines if line["our_gain"]}
            shown = {f"{gain:{form}}" for gain in gains for form in ("+.1f", "+.3f", ".3f")}
            shown |= {line["row"] for line in lines}
            both = re.fullmatch(r".*, (\S+) over (\S+)", part["part"])
            if both:  # the lead of one row over another
                names = {line["row"]: line["evaluation"] for line in lines}
                found_in = [names.get(row) for row in both.groups()]
                metric = next((key for title, key in COLUMNS.items() if part["part"].startswith(f"{title},")), None)
                if metric and all(found_in):
                    shown |= {f"{100 * gain_of(folder, *found_in, metric):+.1f}"}
            assert part["ours"].split()[0] in shown | {"0.0", "0.000"}, part
            found += 1
    return found


def check_methods(folder: Path) -> int:
    lines = [line for line in read_csv(folder / "methods.csv") if line["gain"]]
    for line in lines:
        assert line["gain"] == md.percent(gain_of(folder, line["evaluation"], line["baseline"], line["metric"]))
        assert md.number(float(line["gain"]), sign=True) in (folder / "methods.md").read_text()
    return len(lines)


def check_cards(folder: Path) -> int:
    found = 0
    for page in (folder / "cards").glob("*_*.md"):
        for cells in rows_of(page, "Test"):
            test = cells["Test"].strip("`")
            ours = metrics(folder, paths.evaluation_name(page.stem, test))
            for title in set(cells) & set(COLUMNS):
                assert cells[title].split(" ")[0] == md.percent(ours[COLUMNS[title]])
                found += 1
    return found


@pytest.mark.parametrize(
    ("report", "least"), [("made_up", (900, 6, 4 * len(METHODS), 60)), ("committed", (900, 6, 1, 1))]
)
def test_cells_come_from_files(request, report, least):
    folder = request.getfixturevalue(report)
    found = [check(folder) for check in (check_cells, check_claims, check_methods, check_cards)]
    assert all(count >= wanted for count, wanted in zip(found, least, strict=True)), found


def test_a_changed_result_changes_its_cells_and_no_other(made_up):
    """The proof that cells are read, not written: one file changes, its numbers and only they change on the page."""
    before = (made_up / "tables/msfm_t4.md").read_text().splitlines()
    path = made_up / "metrics/msfm_frcnn_r50_fpn_1x_msfm.json"
    values = json.loads(path.read_text())
    blocks = [block | {"ap": block["ap"] + 0.1} for block in values["blocks"]]
    path.write_text(json.dumps(values | {"ap": values["ap"] + 0.1, "blocks": blocks}))
    write_table("msfm_t4", "mini")
    after = (made_up / "tables/msfm_t4.md").read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 2  # the row and the claim that rests on it
    old, new = md.percent(values["ap"]), md.percent(values["ap"] + 0.1)
    assert f"39.9 → {old}" in changed[0][0]
    assert f"39.9 → {new}" in changed[0][1]


def test_from_the_index_to_experiment_command_and_cost(made_up):
    """A reader's way: index, paper, table, row, then the experiment's file, our result, the command and the cost."""
    assert "papers/msfm.md" in (made_up / "index.md").read_text()
    assert "headline/msfm_t4.md" in (made_up / "index.md").read_text()
    page = (made_up / "papers/msfm.md").read_text()
    assert "../claims/msfm.md" in page
    name = "msfm_frcnn_r50_fpn_1x_msfm"
    for place in ("tables", "headline"):
        source = next(r for r in rows_of(made_up / f"{place}/msfm_t4.md", "Row") if f"[`{name}`]" in str(r))
        assert source["Experiment"] == f"[`{name}`](../../../workflow/papers/msfm/experiments/{name}.yaml)"
        assert source["Result"] == f"[{name}.json](../metrics/{name}.json)"
        assert (source["Steps"], source["Images"], source["Parameters, M"]) == ("300", "2,400", "1.599")
        assert "8 GPU" in source["At full size"]
    text = (made_up / "tables/msfm_t4.md").read_text()
    assert "`dvc repro workflow/papers/msfm/tables/dvc.yaml:msfm_t4`" in text
    assert "[data/published](../../../data/published/msfm.yaml), table `msfm_t4`" in text


@pytest.mark.parametrize("report", ["made_up", "committed"])
def test_every_page_is_reached_from_the_index(report, request):
    folder = request.getfixturevalue(report).resolve()
    seen, waiting = set(), [folder / "index.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())}
        waiting += [found for found in links - seen if folder in found.parents and found.is_file()]
    assert {path.relative_to(folder) for path in folder.rglob("*.md")} == {path.relative_to(folder) for path in seen}
