"""Are the committed results those of the present recipes and code? If not, the report and README say so in one line.

A training's record in DVC's lock holds the hash of the digest of its settings and code (`pipeline/code_digest.py`). The
line is no part of the page's own stage: whatever runs that stage has run the trainings behind it before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline import code_digest, config, paths
from pipeline.graph import declared, signing
from pipeline.reporting import static_html

START = "- **Out of date:** "
README = Path("README.md")
RESULTS = "<!-- results:start -->\n"  # what the line stands behind in README, and in a report
QUESTION = "**Which method helps small objects here, and can one tell?**\n\n"


def line(root: Path = paths.ROOT) -> str:
    """Return the line on the active preset's results, empty where every training behind its index is up to date."""
    known = declared.stages(root)
    index = paths.index(config.active_preset(root)).as_posix()
    (page,) = (address for address, stage in known.items() if index in stage.outs)
    records = signing.load(known, root)
    trained = {address for address in records if known[address].script == "train"}
    stale = declared.descendants(changed(records, code_digest.current(root)), known) & trained
    behind = declared.ancestors(page, known) & trained
    if not stale & behind:
        return ""
    text = f"{START}{len(stale & behind)} of the {len(behind)} trainings behind the headline and {len(stale)} of all "
    return (
        f"{text}{len(trained)} were run with earlier recipes or code; `make headline` and `dvc repro` run them anew.\n"
    )


def changed(records: dict[str, signing.Record], digests: dict[Path, str]) -> set[str]:
    """Return the stages whose digest on record is not the present one, by address."""
    now = {path.as_posix(): hashlib.md5(text.encode()).hexdigest() for path, text in digests.items()}
    return {
        address
        for address, record in records.items()
        if any(now.get(dep["path"], dep["md5"]) != dep["md5"] for dep in record.get("deps", ()))
    }


def outdated(root: Path = paths.ROOT) -> dict[Path, str]:
    """Return the pages that have not the line that they should have, with the text of each."""
    report = paths.index(config.active_preset(root))
    places = {report: QUESTION, README: RESULTS}
    texts = {path: (root / path).read_text("utf-8") for path in places if (root / path).is_file()}
    if report not in texts:
        return {}
    if report.as_posix() not in texts.get(README, ""):
        texts.pop(README, None)  # it quotes another preset's report
    wanted = line(root)
    found = {path: with_line(text, wanted, places[path]) for path, text in texts.items()}
    changed = {path: text for path, text in found.items() if text != texts[path]}
    if report in changed and (root / report).with_suffix(".html").is_file():
        changed[report.with_suffix(".html")] = static_html.page(changed[report], root / report.parent)
    return changed


def with_line(text: str, wanted: str, before: str) -> str:
    """Return a page's text with the line behind `before`, and without what stood there of an earlier one."""
    kept = "".join(old for old in text.splitlines(keepends=True) if not old.startswith(START))
    head, found, tail = kept.partition(before)
    return f"{head}{found}{wanted}{tail}" if found else kept
