"""The claims as pages: one a paper, and one that counts them all; both with their data as CSV."""

from pathlib import Path
from typing import NamedTuple

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import write_text
from pipeline.published.papers import NAMES
from pipeline.published.tables import load_published
from pipeline.reporting.context import numbers_of
from pipeline.verdicts.claim_checks import SIGN_AGREES
from pipeline.verdicts.claims import Part, judge_claims
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import CLAIM_WORDS, Word, worst

FIELDS = ("paper", "claim", "verdict", "statement", "part", "published", "ours", "part_verdict", "why", "sources")

BY_SIZE = " (by its size; the sign agrees)"
BOUNDS = (
    "A bound that a claim names (at least, above, about) is of the papers' own data and sizes: a claim that it "
    "contradicts here may keep its sign, which then stands beside the verdict. A gain over a baseline that trained on "
    "fewer images (SNIP's single-scale training, as the index says) is of that difference, too."
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
    text += f"it rests on. {numbers_of(results, '')} [Back](index.md), [data](claims.csv).\n\n"
    words = {paper: [entry.word for entry in entries_of(paper, claims)] for paper, claims in judged.items()}
    columns = [
        md.Column("Paper", lambda paper: f"[{NAMES[paper]}](claims/{paper}.md)"),
        md.Column("Claims", lambda paper: len(words[paper]), "r"),
        *(md.Column(word, lambda paper, word=word: words[paper].count(word), "r") for word in CLAIM_WORDS),
    ]
    text += f"{md.table(columns, judged)}\n## Decided\n\n"
    entries = [entry for paper, claims in judged.items() for entry in entries_of(paper, claims)]
    decided = [entry for entry in entries if entry.word in (Word.HOLDS, Word.CONTRADICTED)]
    text += "" if results.name == "full" else f"{BOUNDS}\n\n"
    return text + (md.table(DECIDED, decided) if decided else "None yet.\n")


class Entry(NamedTuple):
    """A claim with its statement, its verdict and its parts."""

    paper: str
    name: str
    statement: str
    word: Word
    parts: list[Part]

    @property
    def verdict(self) -> str:
        """The word, and which parts it says nothing of because they cannot be checked here."""
        left = [part.what for part in self.parts if part.verdict == Word.UNCHECKABLE]
        worst_parts = [part for part in self.parts if part.verdict == self.word]
        word = f"{self.word}{BY_SIZE}" if all(map(by_size, worst_parts)) else self.word
        if not left or self.word == Word.UNCHECKABLE:
            return word
        return f"{word}, but for {md.listing(left)}, which {Word.UNCHECKABLE}"

    @property
    def numbers(self) -> str:
        return "; ".join(f"{part.published} → {part.ours}" for part in self.parts if part.ours)


DECIDED = (
    md.Column("Claim", lambda entry: f"[{entry.name}](claims/{entry.paper}.md)"),
    md.Column("Says", lambda entry: entry.statement),
    md.Column("Published → ours", lambda entry: entry.numbers),
    md.Column("Verdict", lambda entry: entry.verdict),
)
PARTS = (  # of (entry, part), where the entry is None below a claim's first part
    md.Column("Claim", lambda line: line[0] and f"`{line[0].name}`: {line[0].statement}"),
    md.Column("Verdict", lambda line: line[0] and line[0].verdict.replace(line[0].word, f"**{line[0].word}**", 1)),
    md.Column("Part", lambda line: line[1].what),
    md.Column("Published", lambda line: line[1].published, "r"),
    md.Column("Ours", lambda line: line[1].ours, "r"),
    md.Column("This part", lambda line: told(line[1])),
    md.Column("From", lambda line: ", ".join(f"[{Path(file).stem}](../{file})" for file in line[1].sources)),
)


def entries_of(paper: str, claims: dict[str, list[Part]]) -> list[Entry]:
    """Return a paper's claims with their verdicts."""
    statements = {claim.id: claim.statement for claim in load_published(paper).claims}
    return [
        Entry(paper, name, statements[name], worst(part.verdict for part in parts), parts)
        for name, parts in claims.items()
    ]


def by_size(part: Part) -> bool:
    """Whether a part has the claimed sign and is contradicted by the claimed size alone."""
    return part.verdict == Word.CONTRADICTED and part.why.endswith(SIGN_AGREES)


def told(part: Part) -> str:
    """Return a part's verdict, and why where it is not decided or only a bound contradicts it."""
    if by_size(part):
        return f"{part.verdict}{BY_SIZE}"
    why = part.why and part.verdict not in (Word.HOLDS, Word.CONTRADICTED)
    return f"{part.verdict}: {part.why}" if why else part.verdict


def paper_claims(results: Results, paper: str, claims: dict[str, list[Part]]) -> str:
    """Return the page of one paper's claims, a line a part."""
    text = f"# Claims of {NAMES[paper]}, preset {results.name}\n\n{numbers_of(results, '../')} "
    text += f"[{NAMES[paper]}](../papers/{paper}.md), [all claims](../claims.md).\n\n"
    lines = [(None if i else e, part) for e in entries_of(paper, claims) for i, part in enumerate(e.parts)]
    return text + md.table(PARTS, lines)


def csv_rows(judged: dict[str, dict[str, list[Part]]]) -> list[dict[str, str]]:
    """Return the claims in long form, a line a part."""
    return [
        {"paper": paper, "claim": entry.name, "verdict": entry.word, "statement": entry.statement}
        | {"part": part.what, "published": part.published, "ours": part.ours}
        | {"part_verdict": part.verdict, "why": part.why, "sources": " ".join(part.sources)}
        for paper, claims in judged.items()
        for entry in entries_of(paper, claims)
        for part in entry.parts
    ]
