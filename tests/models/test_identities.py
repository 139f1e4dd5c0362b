"""Every published or worked-out cost of the papers' networks, to the integer, on the meta device."""

import csv

import pytest
from official_numbers import FOLDER

from pipeline.models.identities import Counted, count_identities, load_identities, print_status
from pipeline.reporting.identities import identities_page

ROWS = {row.name: row for row in load_identities()}
NEVER_PRINTED_SO = {"msfm.t2.scales.3L", "msfm.t4.grid_r50.msfm"}


@pytest.fixture(scope="module")
def counted() -> dict[str, Counted]:
    return {row.row.name: row for row in count_identities()}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_network_has_the_worked_out_numbers(name, counted):
    found, row = counted[name], ROWS[name]
    if found.parameters is not None:
        assert found.parameters == row.parameters
    assert found.total == (None if found.parameters is None else row.total)
    assert found.delta == row.delta
    assert found.macs == row.macs
    assert found.status == row.status


def test_every_network_is_counted_whole_and_as_worked_out(counted):
    assert len(load_identities()) == len(ROWS)
    assert all(row.parameters is not None and row.exact for row in counted.values())


def test_cells_that_no_design_reproduces_stay_mismatches(counted):
    assert {name for name, row in counted.items() if row.status == "mismatch"} == NEVER_PRINTED_SO
    page = identities_page(list(counted.values()))
    assert "msfm.t2.scales.3L and msfm.t4.grid_r50.msfm." in page
    assert "| drn_d_54 | 35,809,176 | 35,809,176 |" in page
    assert "- Differing from them: none." in page


def test_a_wrong_count_is_shown():
    row = ROWS["msfm.base.faster_r50"]
    page = identities_page([Counted(row, 41_527_713, row.total, None, None)])
    assert "- Differing from them: msfm.base.faster_r50." in page
    assert "| 41,527,713 | 41,527,712 |  | **no** |" in page


@pytest.mark.parametrize(
    ("found", "printed", "power", "expected"),
    [
        (41_649_999, 41.6, 6, "match_direct"),
        (41_650_000, 41.7, 6, "match_direct"),  # halves up
        (41_745_504, 41.8, 6, "match_two_step"),
        (41_744_999, 41.8, 6, "mismatch"),
        (25_557_032, 25.557, 6, "match_direct"),
        (4_089_184_256, 4.089, 9, "match_direct"),
        (4_111_514_624, 4.089, 9, "mismatch"),  # with batch norm counted
    ],
)
def test_printing(found, printed, power, expected):
    assert print_status(found, printed, power) == expected


def test_the_committed_rows_are_those_that_were_worked_out():
    with (FOLDER / "derived/parameter_identities.csv").open(encoding="utf-8") as stream:
        wanted = {row.pop("name"): row for row in csv.DictReader(stream)}
    assert set(wanted) == set(ROWS)
    for name, row in wanted.items():
        held = {key: getattr(ROWS[name], key) for key in row}
        assert {key: "" if value is None else str(value) for key, value in held.items()} == row, name
