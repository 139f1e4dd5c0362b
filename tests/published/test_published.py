"""The papers' tables: counts, look-ups, and one sentence for each kind of mistake in a file."""

import copy

import pytest
import yaml

from pipeline import paths
from pipeline.errors import InputError
from pipeline.published.row_names import headings
from pipeline.published.tables import exists, find_table, load_published, read_published

BASE = {"id": "base", "label": "Base", "values": {"ap": 36.7}, "ours": True, "role": "baseline"}
NEW = {"id": "new", "label": "New", "values": {"ap": 38.6}, "ours": True, "role": "method", "baseline_row": "base"}
TABLE = {"id": "dst_t1", "title": "t", "dataset": "coco", "split": "minival", "unit": "percent", "columns": ["ap"]}
SMALL = {"paper": {"key": "dst", "title": "A title", "year": 2020}, "tables": [TABLE | {"rows": [BASE, NEW]}]}
CHECK = {"op": "diff", "a": "dst_t1/new/ap", "b": "dst_t1/base/hours", "printed": 1.0}
CLAIM = {"id": "c1", "statement": "s", "values": {}, "unit": "AP", "how_to_check": "h", "check": [CHECK]}


def test_all_tables_rows_and_claims_of_the_five_papers_load():
    found = [load_published(paper) for paper in paths.PAPERS]
    rows = [row for published in found for table in published.tables for row in table.rows]
    assert sum(len(published.tables) for published in found) == 44
    assert len(rows) == 295
    assert sum(row.ours for row in rows) == 262
    assert sum(value is not None for row in rows for value in row.values.values()) == 1531
    assert sum(len(published.claims) for published in found) == 123


def test_a_row_knows_its_evaluation_and_its_baseline():
    published, table = find_table("snip_t2")
    row = table.row("r50__snip")
    assert row.evaluation == "snip_drfcn_r50_7ep_snip__ms_test"
    assert published.baseline(table, row)[1].evaluation == "snip_drfcn_r50_7ep_single_scale__ms_test"
    assert table.row("r50__single_scale").evaluation == "snip_drfcn_r50_7ep_single_scale"
    published, table = find_table("msfm_t3")
    other, row = published.baseline(table, table.row("pos_2_3"))
    assert (other.id, row.values["ap"]) == ("msfm_t2_base", 37.4)


def test_rows_exist_that_a_table_shows_and_that_are_neither_quoted_nor_absent():
    _, table = find_table("dst_t2")
    assert exists(table.row("frcnn_r50_fpn_1x__dst"))
    assert exists(table.row("frcnn_r101_fpn_1x__dst"))
    _, headline = find_table("dst_t2", headline=True)
    assert exists(headline.row("frcnn_r50_fpn_1x__dst"))
    assert not exists(headline.row("frcnn_r101_fpn_1x__dst"))  # a row that the quickstart does not train
    _, other = find_table("pod_t1")
    assert not exists(other.row("retinanet_r101"))  # quoted from other work
    _, speeds = find_table("psconv_s_g")
    assert not exists(speeds.row("tvm_d2"))  # absent: compilers of the time
    _, scales = find_table("pod_t3", headline=True)
    assert [row.id for row in scales.rows if exists(row)] == [
        *("frcnn_r50_c4_train_h", "frcnn_r50_c4_train_w", "frcnn_r50_c4_minival_h", "frcnn_r50_c4_minival_w"),
        *("frcnn_r50_fpn_train_h", "frcnn_r50_fpn_train_w"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, c: t["rows"][1].update(baseline_row="bse"), "row new: baseline_row 'bse' names no row; did you"),
        (lambda t, c: t["rows"][1].update(baseline_row="dst_t9:base"), "baseline_row 'dst_t9:base' names no table"),
        (lambda t, c: t["rows"][1].update(id="base"), "table dst_t1 has two rows 'base'"),
        (lambda t, c: t["rows"][0]["values"].update(ap_smal=1.0), "unknown column 'ap_smal'"),
        (lambda t, c: t["rows"][0].update(role="basis"), "role must be baseline, method or quoted, found 'basis'"),
        (lambda t, c: t["rows"][0].update(lable="x"), "unknown key 'lable'; did you mean 'label'?"),
        (lambda t, c: c["tables"].append(copy.deepcopy(t)), "table dst_t1 occurs twice"),
        (lambda t, c: c.update(claims=[CLAIM]), "claim c1 checks 'dst_t1/base/hours'"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, change, words):
    contents, path = copy.deepcopy(SMALL), tmp_path / "dst.yaml"
    path.write_text(yaml.safe_dump(contents))
    assert read_published(path).table("dst_t1").row("new").values == {"ap": 38.6}  # right as it is
    change(contents["tables"][0], contents)
    path.write_text(yaml.safe_dump(contents))
    with pytest.raises(InputError) as caught:
        read_published(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(InputError, match="Unknown table 'dst_t22'; did you mean 'dst_t2'"):
        find_table("dst_t22")
    with pytest.raises(InputError, match="Unknown table 'table2'"):
        find_table("table2")
    with pytest.raises(InputError, match="Unknown paper 'dts'; did you mean 'dst'"):
        load_published("dts")


def test_only_labels_that_occur_twice_get_a_heading_and_only_what_differs():
    factors = [
        {"detector": "mask_rcnn", "backbone": "resnet50", "neck": "fpn"},
        {"detector": "cascade_mask_rcnn", "backbone": "resnet50", "neck": "fpn"},
        {"detector": "mask_rcnn", "backbone": "resnet101", "neck": "fpn"},
    ]
    assert headings(["R50", "R50", "R101"], factors) == ["Mask R-CNN", "Cascade Mask R-CNN", ""]
    factors = [{"backbone": "resnext101", "dcn": False}, {"backbone": "resnext101_32x8d", "dcn": True}]
    assert headings(["Ours", "Ours"], factors) == ["X101", "X101-32x8d, DCN"]


def test_no_two_rows_of_a_printed_table_share_a_name():
    for paper in paths.PAPERS:
        for table in load_published(paper).tables:
            names = [row.name for row in table.rows]
            assert len(set(names)) == len(names), table.id
    row = next(row for row in load_published("psconv").table("psconv_t7").rows if "cascade" in row.id)
    assert (row.label, row.name) == ("R50 standard", "R50 standard (Cascade Mask R-CNN)")
