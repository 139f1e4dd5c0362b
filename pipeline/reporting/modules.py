"""Which function writes each page and draws each set of figures: a stage loads the module of its own and no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from pipeline import paths
from pipeline.errors import InputError, nearest

PAGES = dict.fromkeys(paths.PAPERS, "pipeline.reporting.pages:write_page") | {
    "index": "pipeline.reporting.index_page:write_index",
    "compare": "pipeline.own.page:write_comparison",
    "catalogue": "pipeline.reporting.catalogue:write_catalogue",
    "claims": "pipeline.reporting.claims_page:write_claims",
    "methods": "pipeline.reporting.methods_page:write_methods",
    "cards": "pipeline.reporting.cards:write_cards",
    "report": "pipeline.reporting.front_page:write_front_page",
}
FIGURES = {
    "headline": "pipeline.reporting.figures.headline:draw_figures",
    "dst": "pipeline.reporting.figures.dst:draw_dst_figures",
    "scale_stability": "pipeline.reporting.figures.scales:draw_scale_stability",
    "papers": "pipeline.reporting.figures_page:write_figures_page",
}


def load(name: str, known: Mapping[str, str]) -> Callable[..., None]:
    """Return the function behind a name of PAGES or FIGURES. Raises InputError for an unknown name."""
    if name not in known:
        raise InputError(f"Nothing is called {name!r}{nearest(name, known)}; known are {', '.join(known)}.")
    module, _, function = known[name].partition(":")
    return getattr(import_module(module), function)
