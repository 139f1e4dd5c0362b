"""The scorecard of some tables as Markdown: signs beside the papers', decisions beside chance, sizes excluded."""

from pipeline import markdown as md
from pipeline.published.columns import NAMES as COLUMNS
from pipeline.published.papers import NAMES
from pipeline.verdicts.scorecard import SIZES, Agreement, agreement, distinct, grouped, scorecard
from pipeline.verdicts.table_lines import Line


def scorecard_section(tables: dict[str, list[Line]]) -> str:
    """Return a few sentences and one table; every comparison counts once, however many tables show it."""
    found = distinct(tables)
    card = scorecard([line for _, line in found])
    if not found:
        return "Nothing was compared yet.\n"
    whole = agreement(found)
    text = (
        f"{md.plural(len(found), 'distinct comparison')} with a result. Of these **{shown(whole)}** have the sign of "
    )
    text += "the published gain (half would by chance alone).\n\n"
    if card.compared:
        text += f"{md.plural(card.compared, 'comparison')} with an interval: **{card.decided} decided**, where "
        text += (
            f"{card.by_chance:.1f} would be if no method did anything; {card.survive} stay if at most one in twenty "
        )
        text += "of them may be false (Benjamini and Hochberg). "
        text += f"The published size is excluded in {card.excluded} of {card.printed}.\n\n"
    else:
        text += "No comparison has an interval: each was trained once.\n\n"
    groups = [(NAMES[paper], part) for paper, part in grouped(found, lambda name: name.split("_", 1)[0]).items()]
    groups += [(f"{COLUMNS[size]}, all papers", distinct(tables, size)) for size in SIZES]
    columns = [
        md.Column("Comparisons", lambda group: group[0]),
        md.Column("Same sign as published", lambda group: shown(agreement(group[1])), "r"),
        md.Column("Decided", lambda group: sum(line.verdict.decided for _, line in group[1]), "r"),
        md.Column("Published size excluded", lambda group: excluded(group[1]), "r"),
    ]
    return text + md.table(columns, [group for group in groups if group[1]])


def scorecard_sentence(tables: dict[str, list[Line]]) -> str:
    """Return the scorecard in one sentence, nothing where nothing has an interval."""
    found = distinct(tables)
    card = scorecard([line for _, line in found])
    if not card.compared:
        return ""
    text = f"{shown(agreement(found))} gains in AP have the published sign; of {card.compared} with an interval "
    text += f"{card.decided} are decided ({card.by_chance:.1f} would be by chance, and {card.survive} stay if at most "
    text += "one in twenty of the decided may be false)"
    excluded = f", and the published size is excluded in {card.excluded} of {card.printed}" if card.printed else ""
    return f"{text}{excluded}."


def shown(found: Agreement) -> str:
    """Return `62 of 114 (54 % [45, 63])`; the interval is that of `agreement`."""
    if not found.of:
        return md.MISSING
    share = f"{100 * found.agree / found.of:.0f} %"
    ends = "" if found.low is None else f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return f"{found.agree} of {found.of} ({share}{ends})"


def excluded(found: list[tuple[str, Line]]) -> str:
    card = scorecard([line for _, line in found])
    return f"{card.excluded} of {card.printed}" if card.printed else md.MISSING
