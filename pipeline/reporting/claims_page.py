"""The claims as pages: one a paper, and one that counts them all; both with their data as CSV."""

from __future__ import annotations

from pipeline import paths
from pipeline.files import write_text
from pipeline.published.papers import NAMES
from pipeline.published.tables import load_published
from pipeline.reporting import markdown as md
from pipeline.reporting.context import comparability, numbers_of, one_rule
from pipeline.verdicts.claims import CONTRADICTED, HOLDS, ORDER, UNDECIDED, Part, judge_claims, verdict_of
from pipeline.verdicts.results import Results

FIELDS = ("paper", "claim", "verdict", "statement", "part", "published", "ours", "part_verdict", "why", "sources")
RULE = (
    f"`{HOLDS}`: every part that can be checked has the printed sign, its interval excludes zero, or a number keeps "
    f"the claimed bound. `{CONTRADICTED}`: a part is decided the other way. `{UNDECIDED}`: the interval of a part "
    "includes zero, the method was inactive, or its baseline learnt too little. `not run`: a result is missing. "
    "`cannot be checked here`: the reason stands beside it. A claim takes the first of contradicted, undecided, not "
    "run, holds, cannot be checked here that one of its parts has."
)


def write_claims(preset: str) -> None:
    """Write `claims.md`, `claims.csv` and `claims/<paper>.md` of a preset."""
    results = Results(preset)
    judged = {paper: judge_claims(results, paper) for paper in paths.PAPERS}
    for paper, claims in judged.items():
        write_text(paths.claims(preset, paper), paper_claims(results, paper, claims))
    write_text(paths.claims(preset), claims_page(results, judged))
    write_text(paths.claims(preset).with_suffix(".csv"), md.csv_text(FIELDS, csv_rows(judged)))


def claims_page(results: Results, judged: dict[str, dict[str, list[Part]]]) -> str:
    """Return the page of all papers: how many claims have which verdict, and every decided one."""
    total = sum(len(claims) for claims in judged.values())
    text = f"# Claims, preset {results.name}\n\n{md.plural(total, 'claim')} of five papers, each with the numbers that "
    text += f"it rests on. {numbers_of(results)} {comparability(results)} [Back](index.md), [data](claims.csv).\n\n"
    rows = []
    for paper, claims in judged.items():
        words = [verdict_of(parts) for parts in claims.values()]
        rows.append([f"[{NAMES[paper]}](claims/{paper}.md)", str(len(words))])
        rows[-1] += [str(words.count(word)) for word in ORDER]
    text += md.table(["Paper", "Claims", *ORDER], rows, "l" + "r" * (len(ORDER) + 1))
    text += f"\n{RULE}\n\n{one_rule(results)}\n\n## Decided\n\n"
    decided = []
    for paper, claims in judged.items():
        statements = {claim.id: claim.statement for claim in load_published(paper).claims}
        for name, parts in claims.items():
            if verdict_of(parts) in (HOLDS, CONTRADICTED):
                cells = [f"[{name}](claims/{paper}.md)", md.cell(statements[name]), _shown(parts), verdict_of(parts)]
                decided.append(cells)
    header = ["Claim", "Says", "Published → ours", "Verdict"]
    return text + (md.table(header, decided) if decided else "None yet.\n")


def paper_claims(results: Results, paper: str, claims: dict[str, list[Part]]) -> str:
    """Return the page of one paper's claims, a line a part."""
    statements = {claim.id: claim for claim in load_published(paper).claims}
    text = f"# Claims of {NAMES[paper]}, preset {results.name}\n\n{numbers_of(results)} {comparability(results)} "
    text += f"[{NAMES[paper]}](../papers/{paper}.md), [all claims](../claims.md).\n\n{RULE}\n\n"
    rows = []
    for name, parts in claims.items():
        for number, part in enumerate(parts):
            first = [f"`{name}`: {md.cell(statements[name].statement)}", f"**{verdict_of(parts)}**"]
            cells = first if number == 0 else ["", ""]
            why = f": {md.cell(part.why)}" if part.why and part.verdict not in (HOLDS, CONTRADICTED) else ""
            own = f"{part.verdict}{why}"
            links = ", ".join(f"[{_short(source)}](../{source})" for source in part.sources)
            rows.append([*cells, md.cell(part.what), part.published, part.ours, own, links])
    header = ["Claim", "Verdict", "Part", "Published", "Ours", "This part", "From"]
    return text + md.table(header, rows, "lllrrll")


def csv_rows(judged: dict[str, dict[str, list[Part]]]) -> list[dict[str, str]]:
    """Return the claims in long form, a line a part."""
    rows = []
    for paper, claims in judged.items():
        statements = {claim.id: claim.statement for claim in load_published(paper).claims}
        for name, parts in claims.items():
            about = {"paper": paper, "claim": name, "verdict": verdict_of(parts), "statement": statements[name]}
            for part in parts:
                line = {"part": part.what, "published": part.published, "ours": part.ours}
                line |= {"part_verdict": part.verdict, "why": part.why, "sources": " ".join(part.sources)}
                rows.append(about | line)
    return rows


def _shown(parts: list[Part]) -> str:
    """Return the numbers of the parts that have some."""
    return "; ".join(f"{part.published} → {part.ours}" for part in parts if part.ours)


def _short(source: str) -> str:
    return source.rpartition("/")[2].rpartition(".")[0]
