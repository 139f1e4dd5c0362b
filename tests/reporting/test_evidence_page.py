"""The page of evidence sets rows of another machine against the report, and says nothing where there are none."""

import csv

from pipeline.reporting.evidence_page import evidence_page
from pipeline.reporting.results_csv import COLUMNS, place, write_results
from pipeline.verdicts.elsewhere import PLACE
from pipeline.verdicts.results import Results

PLAIN, METHOD = "dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst"


def test_gains_of_another_machine_stand_beside_the_report(fake):
    fake.evaluation(PLAIN, 0.20)
    fake.evaluation(METHOD, 0.23)
    fake.noise()
    assert "On another machine" not in evidence_page(Results("mini"))
    write_results("mini")
    rows = list(csv.DictReader(place("mini").read_text().splitlines()))
    with open(PLACE, "w", newline="") as file:
        writer = csv.DictWriter(file, ["preset", *COLUMNS])
        writer.writeheader()
        for row in (row for row in rows if int(row["block"]) <= 3):
            row |= {"preset": "mini", "processor": "Another", "precision": "fp32"}
            row["ap_small"] = float(row["ap_small"]) + (0.10 if row["experiment"] == METHOD else 0.0)
            writer.writerow(row)
    text = evidence_page(Results("mini")).partition("## On another machine: Another, fp32")[2]
    assert "**3 of 4 (75%) repeated:**" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| DST")]
    found = {cells[0].partition(", ")[2]: cells[1:] for cells in lines}
    # blocks deviate by sqrt(5) x sqrt(2) x .5 points: +-2 for the mean of five, and sqrt(1 + 5 / 3) times that for both
    assert found["AP"][:2] == ["+3.0 [+1.0, +5.0]", "5"]
    assert {cells[3] for cells in found.values()} == {"3"}
    assert {cells[4] for cells in found.values()} == {"±3.2"}
    assert {name for name, cells in found.items() if cells[5] == "**no**"} == {"AP small"}
