"""Figures of the summary on rows that were written and read again: several policies, training seeds, draws, budgets."""

import io
import json
from math import ceil

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from ralseg.evaluation.results import ResultsStore, load_results
from ralseg.evaluation.summary import TWO_SET_MEAN, rare_classes, summarise
from ralseg.evaluation.tables import of_summary
from ralseg.evaluation.text import cells, footnotes, markdown, terminal
from ralseg.foundation import RalsegError, write_json
from ralseg.stats import (
    Resamples,
    advantage_won,
    area_under_budget_curve,
    interquartile_mean,
    labels_saved,
    paired_interval,
    penalty_matrix,
    share_of_paired_wins,
)

STATISTICS = {"difference": paired_interval, "share_of_paired_wins": share_of_paired_wins}
CLASSES = ["road", "pole", "sign"]
BUDGETS = [100, 200, 400]


@pytest.fixture
def saved(tmp_path):
    """Writes a comparison of miou[policy] (training seeds, draws, budgets) or {game: miou}, and reads it again.

    NaN is no run; policies whose names begin with `run:` are trained, with seeds 0, 1, ...; the mIoU on test is 10 less
    than on dev, the IoU of pole and sign is a hundredth and a fiftieth of it, and that of road 0.
    """

    def save(miou, splits=("dev", "test"), budgets=BUDGETS, references=("class_truth",), pixels=(97, 1, 2), of=None):
        games = {"partial": miou} if not isinstance(next(iter(miou.values())), dict) else miou
        rows, names = [], []
        for game, policies in games.items():
            for name, values in policies.items():
                names.append(name)
                for (seed, draw, number), value in np.ndenumerate(np.asarray(values, dtype=float)):
                    if not np.isnan(value):
                        trained = seed if name.startswith("run:") else None
                        rows += [_row(game, name, trained, draw, budgets[number], split, value) for split in splits]
        ResultsStore(tmp_path, CLASSES).put(rows)
        comparison = {
            "classes": CLASSES,
            "policies": list(dict.fromkeys(names)),
            "splits": list(splits),
            "budgets": budgets,
            "run_ids": [row["run_id"] for row in rows],
            "pool": {"units": 9, "class_pixels": list(pixels)},
            "notes": [],
        } | ({} if of is None else {"config": {"game": of}})
        if references is not None:
            comparison["references"] = list(references)
        write_json(tmp_path / "comparison.json", comparison)
        return load_results(tmp_path)

    return save


def _row(game, name, training_seed, draw, budget, split, value):
    value = value - 10 * (split == "test")
    return {
        "run_id": f"{name}-{training_seed}-{draw}-{game}", "policy": name, "training_seed": training_seed, "seed": draw,
        "game": game, "loss": "plain", "split": split, "budget_units": budget, "units": ceil(budget),
        "pixels": 9 * ceil(budget), "share": budget / 1000, "images": 3, "clicks": 5, "label_cost_of_policy": 0,
        "miou": value, "iou_road": 0.0, "iou_pole": value / 100, "iou_sign": value / 50, "class_entropy": 1.0,
        "seconds_choosing": 0.5, "commit": "c",
    }  # fmt: skip


def find(found, **wanted):
    (only,) = [of for of in found if all(of[key] == value for key, value in wanted.items())]
    return only


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def curves(rng):
    """Five training seeds of a policy against formulas, one of which has played five of the eight draws."""
    level = {"random": 30, "margin": 32, "entropy": 33, "class_truth": 36, "run:a": 34, "run:b": 31}
    gain = np.array([0, 2, 4.5])
    made = {}
    for name, at in level.items():
        seeds = 5 if name == "run:a" else 2 if name == "run:b" else 1
        made[name] = at + gain + 0.4 * rng.normal(size=(seeds, 8, 1)) + 0.2 * rng.normal(size=(seeds, 8, 3))
    made["entropy"][:, 5:] = np.nan
    return made


def test_figures_of_an_entry_are_those_of_stats(saved, curves):
    summary = summarise(saved(curves))
    found = find(summary["entries"], policy="run:a", budget=400, split=TWO_SET_MEAN)
    ours = curves["run:a"][..., 2] - 5
    drawn = Resamples(np.random.default_rng(0), crossed=True)
    assert (found["training_seeds"], found["draws"], found["learned"]) == (5, 8, True)
    assert found["miou"] == pytest.approx(ours.mean())
    assert found["best_heuristic"] == "entropy"
    assert list(found["difference"]) == list(found["share_of_paired_wins"]) == ["random", "margin", "entropy"]
    for base in ("random", "margin", "entropy"):
        played = 5 if base == "entropy" else 8
        less = (ours - curves[base][..., 2] + 5)[:, :played]
        for key, statistic in STATISTICS.items():
            exact, own = statistic(less, rng=drawn), found[key][base]
            assert own["mean"] == pytest.approx(exact.mean)
            # Other resamples than the summary's: the same to within their noise.
            assert [own["low"], own["high"]] == pytest.approx([exact.low, exact.high], abs=0.03)
            assert (own["method"], own["n"]) == ("crossed bootstrap", 5)
    iqm = interquartile_mean(ours, drawn)
    assert (found["iqm"]["mean"], found["iqm"]["low"]) == (pytest.approx(iqm.mean), pytest.approx(iqm.low, abs=0.03))
    arrays = (ours, *(curves[name][..., 2] - 5 for name in ("random", "class_truth")))
    share, advantage = advantage_won(*arrays, drawn)
    won = found["share_of_reference"]
    assert won["reference"] == "class_truth"
    assert won["share"]["mean"] == pytest.approx(share.mean)
    assert [won["share"]["low"], won["share"]["high"]] == pytest.approx([share.low, share.high], abs=0.03)
    assert won["advantage"]["low"] == pytest.approx(advantage.low)
    few = find(summary["entries"], policy="run:b", budget=100, split="dev")
    assert few["difference"]["random"]["method"] == "t over training seeds"
    assert few["iqm"]["method"] == "crossed bootstrap of few training seeds"
    for name in ("random", "class_truth"):
        assert find(summary["entries"], policy=name, budget=100, split="dev")["share_of_reference"] is None


def test_the_best_heuristic_is_neither_chance_nor_trained_nor_a_reference(saved):
    levels = {"random": 50, "margin": 30, "entropy": 31, "class_truth": 60, "run:a": 55}
    summary = summarise(saved({name: np.full((1, 3, 3), at) for name, at in levels.items()}))
    assert {entry["best_heuristic"] for entry in summary["entries"]} == {"entropy"}
    own = find(summary["entries"], policy="entropy", budget=100, split="dev")
    assert list(own["difference"]) == ["random", "margin"]
    alone = summarise(saved({"random": np.full((1, 2, 3), 1.0)}))
    assert alone["entries"][0]["best_heuristic"] is None and alone["entries"][0]["difference"] == {}
    assert alone["labels_saved"] == alone["penalty"] == []


def test_ranks_are_the_mean_of_the_ranks_of_all_runs(saved, rng):
    miou = {name: rng.integers(5, size=(1, 20, 3)) for name in ("random", "margin", "entropy", "class_truth")}
    miou["run:a"] = rng.integers(5, size=(3, 20, 3))
    entries = summarise(saved(miou))["entries"]
    contenders = [name for name in miou if name != "class_truth"]
    runs = np.stack([np.broadcast_to(miou[name][..., 1], (3, 20)).ravel() for name in contenders])
    slow = scipy.stats.rankdata(-runs, axis=0).mean(axis=1)
    ranks = [find(entries, policy=name, budget=200, split="test")["rank"] for name in contenders]
    np.testing.assert_allclose(ranks, slow, atol=1e-6)  # Six decimals are kept.
    assert find(entries, policy="class_truth", budget=200, split="test")["rank"] is None


def test_rare_classes_of_camvid_are_the_five_of_the_claim():
    """Class pixels of D_V; the threshold lies between sign's 1.3 % and pavement's 4.6 %."""
    pool = {
        "sky": 5828591, "building": 7723581, "pole": 354737, "road": 10820498, "pavement": 1499901, "tree": 3294661,
        "sign": 434320, "fence": 383283, "car": 2029223, "pedestrian": 213908, "bicyclist": 101057, "tram": 0,
    }  # fmt: skip
    comparison = {"classes": list(pool), "pool": {"class_pixels": list(pool.values())}}
    assert rare_classes(comparison) == ["pole", "sign", "fence", "pedestrian", "bicyclist"]


def test_rare_classes_by_hand(saved):
    """Pole alone is rare: its IoU in percent is the mIoU here, in the two-set mean 5 less than on dev."""
    miou = {"random": np.array([[[30], [40.0]]]), "margin": np.array([[[31], [43.0]]])}
    summary = summarise(saved(miou, budgets=[100]))
    assert summary["rare_classes"] == {"below": 0.02, "classes": ["pole"]}
    rare = find(summary["entries"], policy="margin", split=TWO_SET_MEAN)["rare"]
    assert rare["miou"]["mean"] == pytest.approx(37 - 5)
    assert (rare["difference"]["random"]["mean"], rare["difference"]["random"]["n"]) == (pytest.approx(2), 2)
    both = summarise(saved(miou, budgets=[100], pixels=(980, 10, 10)))
    assert both["rare_classes"]["classes"] == ["pole", "sign"]
    assert find(both["entries"], policy="margin", split="dev")["rare"]["miou"]["mean"] == pytest.approx(37 * 1.5)
    none = summarise(saved({"random": np.full((1, 2, 1), 1.0)}, budgets=[100], pixels=(10, 10, 10)))
    assert none["entries"][0]["rare"] is None


def test_areas_by_hand(saved):
    """100 x 30 + 200 x 35 = 10000 over 300; a run without its last budget is no curve."""
    random = [[[28.0, 32, 38], [28, 32, np.nan]]]
    margin = [[[29.0, 33, 39], [29, 33, 39]]]
    summary = summarise(saved({"random": random, "margin": margin}, splits=["dev"]))
    area = find(summary["areas"], policy="random")
    assert area["area"]["mean"] == pytest.approx(100 / 3)
    assert (area["area"]["n"], area["draws"], area["best_heuristic"]) == (1, 1, "margin")
    less = find(summary["areas"], policy="margin")["difference"]["random"]
    assert (less["mean"], less["method"]) == (pytest.approx(1), "one run")
    assert find(summary["entries"], policy="random", budget=200)["draws"] == 2
    single = summarise(saved({"random": np.ones((1, 2, 1)), "margin": np.ones((1, 2, 1))}, budgets=[100]))
    assert single["areas"] == single["labels_saved"] == []
    assert len(single["penalty"]) == 3


def test_the_area_over_labelled_shares_is_that_of_the_best_practices(saved):
    """Their Table 2: a network that has 68.42 at each share from 10 to 50 % has an AUC@50 of 27.37."""
    flat = {"random": np.full((1, 2, 5), 68.42)}
    shares = [0.1, 0.2, 0.3, 0.4, 0.5]
    shares_of_images, shares_of_pixels = ("image", "units_per_image"), ("region", "share")
    for told, game in ((True, shares_of_images), (True, shares_of_pixels), (False, ("pixel", "units_per_image"))):
        game = dict(zip(("unit", "budget_measure"), game, strict=True))
        summary = summarise(saved(flat, splits=["dev"], budgets=shares, of=game))
        (area,) = summary["areas"]
        text = markdown(summary)
        assert ("auc" in area) == ("| AUC@50 |" in text) == ("AUC: area under" in text) == told
        if told:
            assert area["auc"]["mean"] == pytest.approx(27.37, abs=0.005) and "27.37 [27.37, 27.37]" in text
    rising = summarise(saved({"random": [[[40, 50, 70]]]}, splits=["dev"], budgets=[0.1, 0.2, 0.4], of={
        "unit": "image", "budget_measure": "units_per_image"}))  # fmt: skip
    # 0.1 x 45 + 0.2 x 60.
    assert rising["areas"][0]["auc"]["mean"] == pytest.approx(16.5)


def test_whole_curves_are_those_of_stats(saved, curves):
    summary = summarise(saved(curves))
    own = {
        name: area_under_budget_curve(BUDGETS, values - 5).normalised
        for name, values in curves.items()
        if name != "entropy"
    }
    area = find(summary["areas"], policy="run:a", split=TWO_SET_MEAN)
    assert area["area"]["mean"] == pytest.approx(own["run:a"].mean())
    exact = paired_interval(own["run:a"] - own["margin"], rng=Resamples(np.random.default_rng(0), crossed=True))
    less = area["difference"]["margin"]
    assert (less["mean"], less["low"]) == (pytest.approx(exact.mean), pytest.approx(exact.low, abs=0.02))
    found = find(summary["labels_saved"], policy="run:a", split="dev")
    exact = labels_saved(
        BUDGETS, curves["run:a"][:, :5], curves["entropy"][:, :5], Resamples(np.random.default_rng(0), crossed=True)
    )
    assert (found["base"], found["saved"]) == ("entropy", pytest.approx(exact.saved, abs=1e-6))
    ends = [exact.low, exact.high, exact.at_most]
    assert [found["low"], found["high"], found["at_most"]] == pytest.approx(ends, abs=0.03)
    assert {saved["policy"] for saved in summary["labels_saved"]} == set(curves) - {"entropy"}
    penalty = find(summary["penalty"], split="test")
    contenders = [name for name in curves if name != "class_truth"]
    assert (penalty["policies"], penalty["budgets"]) == (contenders, 3)
    # Seeds that a policy lacks are missing, not made up.
    arrays = [curves[name] for name in contenders if name != "run:b"]
    arrays.append(np.concatenate([curves["run:b"], np.full((3, 8, 3), np.nan)]))
    np.testing.assert_allclose(penalty["matrix"], penalty_matrix(arrays).matrix, atol=1e-6)
    row, column = (contenders.index(name) for name in ("run:a", "random"))
    assert penalty["matrix"][row][column] == 1 and penalty["matrix"][column][row] == 0
    assert penalty["beaten"][column] > penalty["beaten"][row]


def test_another_policy_changes_no_interval(saved, curves):
    before = find(summarise(saved(curves))["entries"], policy="run:a", budget=200, split="dev")
    curves = {"run:c": np.full((3, 6, 3), 20.0), **curves}
    after = find(summarise(saved(curves))["entries"], policy="run:a", budget=200, split="dev")
    assert {**before, "rank": 0} == {**after, "rank": 0}


def test_games_of_one_folder_stand_apart(saved):
    games = {"full": {"random": np.full((1, 2, 3), 50.0)}, "partial": {"random": np.full((1, 2, 3), 30.0)}}
    summary = summarise(saved(games))
    assert [find(summary["entries"], game=game, budget=100, split="dev")["miou"] for game in games] == [50, 30]
    assert [find(summary["areas"], game=game, split="dev")["area"]["mean"] for game in games] == [50, 30]


def test_a_summary_of_scraps_is_still_json(saved):
    """One run, no pair, a trained policy whose seeds share no draw."""
    nan = np.nan
    miou = {
        "random": [[[30.0, 31, 32], [nan] * 3]],
        "margin": [[[nan] * 3, [31.0, 32, 33]]],
        "run:a": [[[33.0, 34, 35], [nan] * 3], [[nan] * 3, [33.0, 34, 35]]],
    }
    summary = summarise(saved(miou))
    json.dumps(summary, allow_nan=False)
    assert find(summary["entries"], policy="margin", budget=100, split="dev")["difference"] == {"random": None}
    assert find(summary["entries"], policy="random", budget=100, split="dev")["rank"] is None
    assert find(summary["areas"], policy="run:a", split="dev")["area"] is None
    by_margin = find(summary["labels_saved"], split="dev")
    assert (by_margin["policy"], by_margin["method"]) == ("run:a", "one run")
    assert find(summary["penalty"], split="dev")["matrix"] == [[0, None, None], [None, 0, None], [None, None, 0]]
    markdown(summary)
    alone = summarise(saved({"random": [[[30.0, 31, 32]]], "margin": [[[31.0, 32, 33]]]}))
    (found,) = [of for of in alone["labels_saved"] if of["split"] == "dev"]
    assert (found["policy"], found["low"], found["method"], found["censored"]) == ("random", None, "one run", "at most")
    assert found["saved"] == 0


def test_references_must_be_told(saved):
    with pytest.raises(RalsegError, match=r'comparison\.json.*add "references"'):
        summarise(saved({"random": np.ones((1, 2, 3))}, references=None))


def test_tables_over_all_budgets(saved, curves):
    summary = summarise(saved(curves))
    *_, table = of_summary(summary)
    assert table.title == "partial, budgets 100 to 400, mean"
    header, *rows = cells(table.on("markdown"))
    assert header == [
        "policy", "area", "less random", "less margin", "less entropy", "saved", "beaten by", "runs",
    ]  # fmt: skip
    ours = next(row for row in rows if row[0] == "run:a")
    area = find(summary["areas"], policy="run:a", split=TWO_SET_MEAN)
    saved_by = find(summary["labels_saved"], policy="run:a", split=TWO_SET_MEAN)
    assert ours[1] == f"{area['area']['mean']:.2f}" and ours[-1] == "5 x 8"
    assert ours[5].startswith(f"{100 * saved_by['saved']:+.0f} % [")
    by_name = {row[0]: row for row in rows}
    assert by_name["random"][5] == "at most 0 %"
    assert by_name["class_truth*"][5].startswith("+") and by_name["class_truth*"][6] == ""
    assert by_name["entropy"][5] == ""
    assert "**partial, budgets 100 to 400, mean**" in markdown(summary)
    lines = footnotes(summary)
    assert sum(line.startswith(("area:", "saved:", "beaten by:", "rank:", "runs:")) for line in lines) == 5
    header, *rows = cells(of_summary(summary)[0].on("markdown"))
    assert header[4:8] == ["rank", "less random", "less margin", "less entropy"]


def test_a_terminal_of_120_columns_shows_every_figure(saved, curves):
    curves["uncertainty_then_coverage"] = curves["margin"] + 9
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal(summarise(saved(curves))))
    text = console.export_text()
    assert "…" not in text and max(map(len, text.splitlines())) <= 120
    head = text.splitlines()[:5]
    assert any("less random" in line and " uncertainty_then_coverage " in line for line in head)
    assert "less margin" not in text


def over_budgets(summary):
    """The lines of the table of whole curves."""
    return cells(of_summary(summary)[-1].on("markdown"))


def test_bounds_of_labels_saved_are_written_as_bounds(saved, rng):
    luck = rng.normal(size=(1, 12, 1))
    rise = np.array([0, 1, 2.0])
    base = 30 + rise + 0.1 * luck
    noise = rng.normal(size=(1, 12, 3))
    miou = {
        "margin": base,
        "random": base - 9,
        "run:soon": base + 9,
        "run:some": base + rise / 8 + 0.8 * (noise - noise.mean(axis=1)),
    }
    header, *rows = over_budgets(summarise(saved(miou, splits=["dev"])))
    cells = {row[0]: row[header.index("saved")] for row in rows}
    assert (cells["margin"], cells["random"], cells["run:soon"]) == ("", "at most 0 %", "at least +75 %")
    assert cells["run:some"].startswith("+") and "[<=0, +" in cells["run:some"]
    header, *rows = over_budgets(summarise(saved({"margin": base[..., ::-1], "random": base}, splits=["dev"])))
    assert rows[1][header.index("saved")] == "flat base"
