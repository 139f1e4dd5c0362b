"""Rows of one label are told apart by what the papers print as headings."""

from pipeline import paths
from pipeline.published.row_names import headings
from pipeline.published.tables import load_published


def test_only_labels_that_occur_twice_get_a_heading_and_only_what_differs():
    factors = [
        {"detector": "mask_rcnn", "backbone": "resnet50", "neck": "fpn"},
        {"detector": "cascade_mask_rcnn", "backbone": "resnet50", "neck": "fpn"},
        {"detector": "mask_rcnn", "backbone": "resnet101", "neck": "fpn"},
    ]
    assert headings(["R50", "R50", "R101"], factors) == ["Mask R-CNN", "Cascade Mask R-CNN", ""]
    assert headings([], []) == []


def test_deformable_convolutions_are_named_where_they_are():
    factors = [{"backbone": "resnext101", "dcn": False}, {"backbone": "resnext101_32x8d", "dcn": True}]
    assert headings(["Ours", "Ours"], factors) == ["X101", "X101-32x8d, DCN"]


def test_no_two_rows_of_a_printed_table_share_a_name():
    for paper in paths.PAPERS:
        for table in load_published(paper).tables:
            names = [row.name for row in table.rows]
            assert len(set(names)) == len(names), table.id


def test_the_printed_label_stays_as_it_is():
    row = next(row for row in load_published("psconv").table("psconv_t7").rows if "cascade" in row.id)
    assert (row.label, row.name) == ("R50 standard", "R50 standard (Cascade Mask R-CNN)")
