"""Comparisons of the same images with different learners, joined."""

import numpy as np
import pytest

from ralseg.evaluation.joining import join, main
from ralseg.evaluation.results import load_results
from ralseg.evaluation.summary import summarise
from ralseg.foundation import RalsegError


@pytest.fixture
def two(play, tiny):
    """The same two policies and draws with the default learner and with the mean teacher."""
    options = {"draws": 2, "config": tiny()}
    plain, _ = play("plain", **options)
    semi, _ = play("semi", **options | {"config": tiny("learner=mean_teacher", "learner.images=2")})
    return plain, semi


def test_joined_rows_are_those_of_the_parts_and_their_draws_are_paired(two, tmp_path):
    plain, semi = two
    joined = join({"": plain.folder, "teacher": semi.folder}, tmp_path / "both")
    assert joined.comparison["policies"] == ["random", "margin", "random (teacher)", "margin (teacher)"]
    for part, label in ((plain, ""), (semi, " (teacher)")):
        for row in part.rows:
            assert row | {"policy": row["policy"] + label} in joined.rows
    assert len(joined.rows) == len(plain.rows) + len(semi.rows)
    entry = next(e for e in summarise(joined)["areas"] if e["policy"] == "random (teacher)" and e["split"] == "dev")
    own = [np.mean([[row["miou"] for row in part.rows if (row["policy"], row["seed"]) == ("random", seed)]
                    for seed in (0, 1)], axis=1) for part in (semi, plain)]  # fmt: skip
    # With two budgets the normalised area is their mean.
    assert entry["difference"]["random"]["mean"] == pytest.approx(np.mean(own[0] - own[1]), abs=1e-6)
    assert entry["difference"]["random"]["n"] == 2


def test_units_may_differ(play, tiny, tmp_path):
    """A budget in shares of the pixels is the same for images and regions."""
    of_share = ["game.budget_measure=share", "game.budget=0.5"]
    options = {"draws": 1, "budgets": [0.5], "policies": ("random",)}
    regions, _ = play("regions", config=tiny(*of_share), **options)
    images, _ = play("images", config=tiny(*of_share, "game.unit=image", "game.draw=pool"), **options)
    joined = join({"": regions.folder, "images": images.folder}, tmp_path / "both")
    assert joined.comparison["policies"] == ["random", "random (images)"]
    assert regions.comparison["pool"]["units"] != images.comparison["pool"]["units"]


def test_what_was_bought_and_the_gallery_come_along(two, tmp_path):
    plain, semi = two
    joined = join({"": plain.folder, "teacher": semi.folder}, tmp_path / "both")
    assert set(joined.bought_runs()) == set(joined.comparison["policies"])
    run = semi.comparison["run_ids"][0]
    assert joined.bought(run) == semi.bought(run) | {"policy": "random (teacher)"}
    kept = {path.relative_to(of.folder) for of in two for path in of.folder.glob("gallery/*/*")}
    assert {path.relative_to(joined.folder) for path in joined.folder.glob("gallery/*/*")} == kept != set()


def test_a_note_says_how_each_part_was_played(two, tmp_path):
    plain, semi = two
    note = join({"": plain.folder, "teacher": semi.folder}, tmp_path / "both").comparison["notes"][-1]
    assert note.startswith("teacher was played with learner._target_=")
    assert "learner.images=2" in note and "dataset" not in note


def test_the_command_writes_the_page_again_after_a_part_has_grown(two, play, tiny, tmp_path, capsys):
    plain, semi = two
    arguments = [str(tmp_path / "both"), str(plain.folder), f"teacher={semi.folder}"]
    assert main(arguments) == 0
    play("plain", policies=("random", "margin", "entropy"), draws=2, config=tiny())
    assert main(arguments) == 0
    assert "entropy" in load_results(tmp_path / "both").comparison["policies"]
    page = (tmp_path / "both/report.html").read_text()
    assert "random (teacher)" in page and "entropy" in page
    assert "Everything is in" in capsys.readouterr().out


def test_what_cannot_be_paired_is_refused(two, play, tiny, tmp_path, capsys):
    plain, semi = two
    other, _ = play("other", config=tiny("protocol.seed=1"), draws=2)
    budget, _ = play("budget", draws=2, budgets=[6])
    for parts, said in (
        ({"": plain.folder}, "1 comparisons were given"),
        ({"": plain.folder, "b": other.folder}, "differ in pool, protocol, images or labels"),
        ({"": plain.folder, "b": budget.folder}, "differ in budgets"),
        ({"": plain.folder, "b": plain.folder}, "two of the joined runs are called random-d0"),
        ({"": plain.folder, "b": tmp_path / "none"}, "none/comparison.json"),
    ):
        with pytest.raises(RalsegError, match=said):
            join(parts, tmp_path / "both")
    assert not (tmp_path / "both").exists()
    assert main([str(tmp_path / "both"), str(plain.folder), str(semi.folder)]) == 2
    assert "the same label" in capsys.readouterr().err


def test_no_comparison_that_was_played_is_overwritten(two, play, tiny, tmp_path):
    plain, semi = two
    other, _ = play("other", policies=("entropy",), config=tiny(), draws=2)
    for folder in (plain.folder, other.folder):
        before = (folder / "results.csv").read_bytes()
        with pytest.raises(RalsegError, match="holds a comparison that was played, whose rows would be lost"):
            join({"": plain.folder, "teacher": semi.folder}, folder)
        assert (folder / "results.csv").read_bytes() == before
