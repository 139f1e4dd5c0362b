"""Which function writes each page and draws each set of figures: a stage loads the module of its own and no other."""

from collections.abc import Callable
from importlib import import_module

from pipeline import paths
from pipeline.errors import InputError, nearest

PAGES = dict.fromkeys(paths.PAPERS, "pipeline.reporting.pages:write_page") | {
    "index": "pipeline.reporting.index_page:write_index",
    "how_measured": "pipeline.reporting.how_measured:write_how_measured",
    "compare": "pipeline.own.page:write_comparison",
    "catalogue": "pipeline.reporting.catalogue:write_catalogue",
    "results": "pipeline.reporting.results_csv:write_results",
    "claims": "pipeline.reporting.claims_page:write_claims",
    "methods": "pipeline.reporting.methods_page:write_methods",
    "evidence": "pipeline.reporting.evidence_page:write_evidence",
    "cards": "pipeline.reporting.cards:write_cards",
    "report": "pipeline.reporting.front_page:write_front_page",
}
FIGURES = {
    "headline": "pipeline.reporting.figures.headline:draw_figures",
    "dst": "pipeline.reporting.figures.dst:draw_dst_figures",
    "scale_stability": "pipeline.reporting.figures.scales:draw_scale_stability",
    "papers": "pipeline.reporting.figures_page:write_figures_page",
}


NAMED = {"page": PAGES, "figures": FIGURES}  # by the script of the stage


def load(script: str, name: str) -> Callable[..., None]:
    """Return the function behind a page or a set of figures. Raises InputError for an unknown name."""
    known = NAMED[script]
    if name not in known:
        raise InputError(f"There is no {script} {name!r}{nearest(name, known)}; known are {', '.join(known)}.")
    return getattr(import_module(module_of(script, name)), known[name].partition(":")[2])


def module_of(script: str, name: str) -> str:
    """Return the module that a stage loads for a name; nothing where its script has no table of them."""
    return NAMED.get(script, {}).get(name, "").partition(":")[0]
