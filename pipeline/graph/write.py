"""What is derived of what a person keeps: the indexes of experiments, all dvc.yaml files, the page of differences.

A person keeps workflow/stages.yaml (each kind of stage, once), the experiment files, data/published and rows.yaml;
`python -m pipeline.graph write` writes the rest. A test says when it was not run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline import defaults, paths
from pipeline.errors import InputError
from pipeline.files import read_yaml, write_text
from pipeline.graph import earlier, tables
from pipeline.graph.indexes import Folder, folders
from pipeline.graph.observed import STAGES, observe
from pipeline.published.papers import PAIRS
from pipeline.published.rows import RowsFile, drawn, load_rows
from pipeline.reporting.differences_page import differences_page

HEAD = "# Written by `python -m pipeline.graph write`.\n"
PARTS = ("deps", "outs", "metrics", "plots")
FIELD = re.compile(r"\$\{item\.(\w+)\}")


def write() -> list[Path]:
    """Record new options' defaults, write what is not as it should be, remove what is of no use; return these files."""
    recorded = [paths.DEFAULTS] if defaults.write() else []
    changed = outdated()
    for path, text in changed.items():
        if text is None:
            (paths.ROOT / path).unlink()
        else:
            write_text(paths.ROOT / path, text)
    pages = earlier.outdated()  # of the graph as it is now
    for path, text in pages.items():
        write_text(paths.ROOT / path, text)
    return [*recorded, *changed, *pages]


def outdated() -> dict[Path, str | None]:
    """Return the generated files that are not as they should be, with the text of each, None for one of no use."""
    found = texts()
    there = (path.relative_to(paths.ROOT) for path in (paths.ROOT / "workflow").rglob("*.yaml"))
    unused = {path: None for path in there if path not in found and current(path).startswith(HEAD)}
    return {path: text for path, text in found.items() if current(path) != text} | unused


def current(path: Path) -> str:
    """Return the text of a file of the project as it stands there, an empty one where there is none."""
    file = paths.ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def texts() -> dict[Path, str]:
    """Return the text of every generated file.

    Raises:
        InputError: experiments of one folder differ in what they need, or stages.yaml names an unknown one.
    """
    kinds, contents = read_yaml(paths.ROOT / STAGES), {}
    for folder in folders():
        if folder.index_file:
            contents[folder.index_file] = folder.index
        contents[folder.path / "dvc.yaml"] = dvc_yaml(folder, kinds)
    for paper in paths.PAPERS:
        folder = Folder(paths.table_rows(paper).parent)
        contents[folder.path / "dvc.yaml"] = dvc_yaml(folder, {}, tables.stages(paper))
    for address, deps in observe({path: dumped(content) for path, content in contents.items()}).items():
        file, _, name = address.rpartition(":")
        contents[Path(file or "dvc.yaml")]["stages"][name]["deps"] = deps
    return {path: HEAD + dumped(content) for path, content in contents.items()} | {
        paths.DIFFERENCES: differences_page()
    }


def dvc_yaml(folder: Folder, kinds: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the contents of a folder's dvc.yaml: each kind of stage that something in its index needs, and `more`."""
    up = "/".join(".." for _ in folder.path.parts)
    used = [*([paths.PARAMS] if up else []), *([folder.index_file] if folder.index_file else [])]
    content: dict[str, Any] = {"vars": [os.path.relpath(file, folder.path) for file in used]}
    if not up:
        experiments = [paths.experiments_folder(paper).as_posix() for paper in paths.PAPERS]
        folders = ["workflow/inits", "workflow/presets", "workflow/schedules", *experiments]
        content["params"] = [paths.PARAMS.as_posix(), *folders]  # only for `dvc params diff`
    stages = content["stages"] = {}
    bodies = [item for group in folder.groups for item in kinds[group].items()]
    for name, body in [*(pair for item in bodies for pair in by_paper(*item)), *(more or {}).items()]:
        each = body.get("foreach")
        left_out = folder.index.get(body.get("unless"), {})
        items = {} if each is None else items_of(each, folder.index)
        items = {key: item for key, item in items.items() if key not in left_out}
        if each is not None and not items:
            continue
        stage = {key: body[key] for key in ("desc", "cmd")} | ({"wdir": up} if up else {})
        for part in PARTS:
            entries = [entry for entry in body.get(part, ()) if needed(name_of(entry), items, f"{folder.path}: {name}")]
            if entries:
                stage[part] = json.loads(json.dumps(entries).replace("${voc}", folder.voc))
        given = f"${{{each}}}" if isinstance(each, str) and each in folder.index and not left_out else items
        stages[name] = stage if each is None else {"foreach": given, "do": stage}
    return content


def by_paper(name: str, body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a stage with `${paper}` filled in: a stage a paper where its name holds it, else an entry a paper."""
    if "${paper}" in name:
        for paper in paths.PAPERS:
            yield for_paper(name, paper), for_paper(body, paper)
        return
    result = dict(body)
    for part in PARTS:
        each = [(entry, paths.PAPERS if "${paper}" in name_of(entry) else ("",)) for entry in body.get(part, ())]
        result[part] = [for_paper(entry, paper) for entry, papers in each for paper in papers]
    yield name, result


def for_paper(value: Any, paper: str) -> Any:
    return json.loads(json.dumps(value).replace("${paper}", paper))


def items_of(each: str | list[str], index: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kind of stage runs over in a folder: a list of its index, or those of the named that it holds."""
    if each == "gallery":
        return gallery({paper: load_rows(paper) for paper in PAIRS})
    if isinstance(each, str):
        return index.get(each, {})
    for name in each:
        if not (paths.ROOT / paths.experiment_file(paths.split_evaluation(name)[0])).is_file():
            raise InputError(f"{STAGES} names {name!r}, which has no experiment file; correct it.")
    held = index.get("evaluations")
    return {name: {} for name in each} if held is None else {name: held[name] for name in each if name in held}


def gallery(rows: Mapping[str, RowsFile]) -> dict[str, dict[str, str]]:
    """Return the detections that each paper's gallery shows, from the papers' files of rows."""
    runs = {paper: [paths.detections("", name) for name in drawn(paper, found)] for paper, found in rows.items()}
    return {
        paper: {kind: f"{run.parent.name}/{run.stem}" for kind, run in zip(("baseline", "method"), pair, strict=True)}
        for paper, pair in runs.items()
    }


def needed(name: str, items: Mapping[str, Mapping[str, Any]], where: str) -> bool:
    """Whether experiments have the fields that an entry names. Raises InputError where only some of them have."""
    fields = set(FIELD.findall(name))
    with_it = [key for key, item in items.items() if fields <= item.keys()]
    if with_it and len(with_it) < len(items):
        other = next(key for key in items if key not in with_it)
        raise InputError(f"{where}: {with_it[0]} needs {name} and {other} does not; give them folders of their own.")
    return not fields or bool(with_it)


def name_of(entry: str | dict[str, Any]) -> str:
    """Return the path of an entry of deps or outs, which may carry options."""
    return entry if isinstance(entry, str) else next(iter(entry))


class Dumper(yaml.SafeDumper):
    """Lists an entry a line, and what has no lists inside on one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.Node:
        return super().represent_sequence(tag, sequence, flow_style=False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.Node:
        plain = not any(isinstance(value, (dict, list)) for value in mapping.values())
        return super().represent_mapping(tag, mapping, flow_style=plain)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, width=float("inf"), allow_unicode=True)
