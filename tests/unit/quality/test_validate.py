import threading

import great_expectations.expectations as gxe
import pandas as pd

from quality.validate import Suite, validate


def test_a_check_passes_only_if_all_of_its_expectations_hold(tmp_path):
    frame = pd.DataFrame({"x": [1, 2, None]})
    meta = {"check": "x_is_whole"}
    outcomes = validate(
        [
            Suite(
                "table",
                frame,
                [
                    gxe.ExpectColumnValuesToBeBetween(column="x", max_value=5, meta=meta),
                    gxe.ExpectColumnValuesToNotBeNull(column="x", meta=meta),
                    gxe.ExpectColumnValuesToBeBetween(column="x", max_value=5, meta={"check": "x_is_small"}),
                ],
            )
        ],
        tmp_path / "docs",
    )
    verdicts = {outcome.name: outcome.passed for outcome in outcomes}
    assert verdicts == {"x_is_whole": False, "x_is_small": True}
    assert "'unexpected_count': 1" in outcomes[0].metadata["failed"]


def test_the_report_is_a_page_with_the_suite(tmp_path):
    suite = Suite(
        "wing_table",
        pd.DataFrame({"x": [1]}),
        [gxe.ExpectColumnValuesToNotBeNull(column="x", meta={"check": "c"})],
    )
    (outcome,) = validate([suite], tmp_path / "docs")
    for thread in threading.enumerate():
        if thread.name == "data docs":
            thread.join()
    assert "wing_table" in (tmp_path / "docs" / "index.html").read_text()
    assert outcome.metadata["report"] == str(tmp_path / "docs" / "index.html")


def test_an_expectation_that_cannot_run_fails_its_check(tmp_path):
    missing = gxe.ExpectColumnValuesToNotBeNull(column="no such column", meta={"check": "c"})
    (outcome,) = validate([Suite("t", pd.DataFrame({"x": [1]}), [missing])], tmp_path / "docs")
    assert not outcome.passed
