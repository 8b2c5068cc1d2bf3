import csv
import json
import shutil
from itertools import pairwise

import pytest

from ralseg.foundation import RalsegError
from ralseg.tools.guide_evidence import EVIDENCE, ROOT, areas, entries


def test_the_shipped_evidence_is_what_the_results_say():
    assert json.loads(EVIDENCE.read_text()) == entries(ROOT / "results")


@pytest.fixture
def copied(tmp_path):
    found = sorted((ROOT / "results").glob("best_practices_*"))
    if not found:
        pytest.skip("no results of the experiment yet")
    folder = tmp_path / found[0].name
    shutil.copytree(found[0], folder)
    return folder


def test_areas_by_hand(copied):
    with open(copied / "results.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["policy"] == "random" and row["seed"] == "0"]
    curve: dict[float, list[float]] = {}
    for row in rows:
        curve.setdefault(float(row["budget_units"]), []).append(float(row["miou"]))
    points = [(budget, sum(values) / len(values)) for budget, values in sorted(curve.items())]
    area = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairwise(points))
    assert areas(copied)["random"][0] == pytest.approx(area / (points[-1][0] - points[0][0]))


def test_a_kind_that_was_not_played(copied):
    text = (copied / "results.csv").read_text().replace(",then_coreset,", ",another,")
    (copied / "results.csv").write_text(text)
    with pytest.raises(RalsegError, match="no runs of then_coreset; play experiment=best_practices"):
        entries(copied.parent)
