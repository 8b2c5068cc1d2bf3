import cv2
import numpy as np
import pytest

from ralseg.annotation import guide
from ralseg.annotation.guide import PUBLISHED, advise, evidence, kind_of_budget, kind_of_pool, measured, pictures
from ralseg.foundation import RalsegError
from ralseg.query_regions import main
from ralseg.segmentation.datasets import Streets
from ralseg.stats.redundancy import Redundancy

DIVERSE, REDUNDANT = Redundancy(0.1, 0.05, 0.15, 0.0), Redundancy(0.4, 0.3, 0.5, 0.1)
BETWEEN = Redundancy(0.2, 0.15, 0.25, 0.0)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (DIVERSE, "diverse"),
        (REDUNDANT, "redundant"),
        (BETWEEN, "unsure"),
        (DIVERSE._replace(copies=0.5), "redundant"),
        (DIVERSE._replace(copies=0.2), "unsure"),
    ],
)
def test_the_kind_of_a_pool(found, kind):
    assert kind_of_pool(found) == kind


def test_the_kind_of_a_budget():
    assert [kind_of_budget(share) for share in (0.02, 0.1, 0.11, 0.24, 0.25, 0.5)] == [
        "low", "low", "unsure", "unsure", "high", "high",
    ]  # fmt: skip


def entry(pool, budget, **differences):
    named = {name.replace("_", " ").replace(" less ", " - "): value for name, value in differences.items()}
    return {"pool": pool, "budget": budget, "data": "a", "results": "b", "draws": 5, "differences": named}


@pytest.fixture
def told(monkeypatch):
    def say(*entries):
        monkeypatch.setattr(guide, "evidence", lambda: entries)

    say()
    return say


def test_without_evidence_it_is_the_published_guide_and_says_so(told):
    for (pool, budget), (kind, helps) in PUBLISHED.items():
        advice = advise({"diverse": DIVERSE, "redundant": REDUNDANT}[pool], 100, 5 if budget == "low" else 50)
        assert (advice.pool, advice.budget, advice.kind, advice.semi_supervised) == (pool, budget, kind, helps)
        assert any("published as best (GCPR 2023, Table 7)" in sentence for sentence in advice.why)
        if kind != "random":
            assert any(f"do not show that {kind} is better than random" in sentence for sentence in advice.why)


def test_what_was_measured_decides(told):
    told(entry("diverse", "low", batch_less_random=[1.0, 0.4, 1.6], single_less_random=[0.1, -0.5, 0.7]))
    advice = advise(DIVERSE, 100, 5)
    assert advice.kind == "batch" and any("our experiments show that batch is better" in s for s in advice.why)
    assert any("batch - random +1.00 [+0.40, +1.60]" in sentence for sentence in advice.why)
    told(entry("redundant", "high", batch_less_random=[-1.0, -1.6, -0.4]))
    advice = advise(REDUNDANT, 100, 50)
    assert advice.kind == "random" and any("random to be better than batch" in s for s in advice.why)
    both = {"batch_less_random": [1.0, 0.4, 1.6], "single_less_random": [1.0, 0.4, 1.6]}
    told(entry("diverse", "low", **both))
    assert advise(DIVERSE, 100, 5).kind == "unsure"
    told(entry("diverse", "low", **both, batch_less_single=[-0.5, -0.8, -0.2]))
    assert advise(DIVERSE, 100, 5).kind == "single"


def test_two_data_sets_that_disagree_show_nothing(told):
    told(
        entry("diverse", "low", batch_less_random=[1.0, 0.4, 1.6]),
        entry("diverse", "low", batch_less_random=[-1.0, -1.6, -0.4]),
    )
    assert advise(DIVERSE, 100, 5).kind == "random"


def test_whether_unlabelled_images_help_is_measured(told):
    name = "semi-supervised - supervised"
    for value, helps in (([1.0, 0.5, 1.5], True), ([-1.0, -1.5, -0.5], False), ([0.1, -0.5, 0.7], True)):
        told({**entry("diverse", "low"), "differences": {name: value}})
        assert advise(DIVERSE, 100, 5).semi_supervised is helps


def test_between_two_kinds_it_is_unsure_unless_both_agree(told):
    assert advise(BETWEEN, 100, 5).kind == "unsure" and advise(BETWEEN, 100, 5).semi_supervised is None
    between = advise(REDUNDANT, 100, 15)
    assert (between.budget, between.kind, between.semi_supervised) == ("unsure", "batch", None)


def test_the_evidence_that_is_shipped():
    for own in evidence():
        assert (own["pool"], own["budget"]) in PUBLISHED and own["draws"] >= 2
        assert {"single - random", "batch - random", "batch - single"} <= set(own["differences"])
        assert all(low <= mean <= high for mean, low, high in own["differences"].values())


@pytest.fixture
def photographs(tmp_path):
    streets = Streets(64, (60, 80))
    for number, name in enumerate(streets.names):
        image = cv2.cvtColor(streets.load(name)[0], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    return tmp_path


def test_images_are_in_the_order_of_their_numbers(photographs):
    assert list(pictures(photographs)) == [str(number) for number in range(64)]
    (photographs / "images").mkdir()
    with pytest.raises(RalsegError, match="images: no images; give a folder of PNG or JPEG files"):
        pictures(photographs)


def test_drawn_streets_are_diverse_and_their_copies_are_not(photographs):
    assert kind_of_pool(measured(pictures(photographs))) == "diverse"
    rng = np.random.default_rng(0)
    for number in range(32):
        image = cv2.imread(str(photographs / f"{number}.png"))
        noisy = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(photographs / f"{number + 32}.png"), noisy)
    assert kind_of_pool(measured(pictures(photographs))) == "redundant"


def test_the_command(photographs, capsys):
    assert main(["recommend", str(photographs), "--budget", "32"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Kind of acquisition: ") and "The pool is diverse" in told
    assert "The budget is high: 32 of 64 images, 50.0%." in told
    assert main(["recommend", str(photographs), "--budget", "65"]) == 2
    assert "--budget 65 is out of range" in capsys.readouterr().err
    for number in range(10):
        (photographs / f"{number}.png").unlink()
    assert main(["recommend", str(photographs)]) == 2
    assert "54 images are too few to measure their redundancy; 60 or more" in capsys.readouterr().err
    assert main(["recommend", str(photographs / "nowhere")]) == 2
    assert "no images" in capsys.readouterr().err
