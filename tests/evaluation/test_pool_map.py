"""Games whose units are images: the embedding of the pool, the map, and how concentrated the choices are."""

import json

import numpy as np
import pytest
import torch

from ralseg.envs import World
from ralseg.evaluation.embedding import write_embedding
from ralseg.evaluation.pool_embedding import EMBEDDING, embedding_of
from ralseg.evaluation.pool_map import pool_map
from ralseg.evaluation.report import write_report
from ralseg.evaluation.results import Results
from ralseg.evaluation.summary import summarise
from ralseg.evaluation.tables import of_summary
from ralseg.evaluation.text import markdown
from ralseg.foundation import RalsegError
from ralseg.stats import effective_number

IMAGES = [
    "protocol.counts={state: 5, train: 5, compare: 12, dev: 2}", "game.unit=image", "game.draw=pool",
    "game.slates_per_image=0.25", "game.budget_measure=units_per_image", "game.budget=0.5",
]  # fmt: skip
BUDGETS = [0.25, 0.5]


@pytest.fixture
def compared(play, tiny):
    """(results, world) of random and margin on 12 images, of which two draws buy 3 and then 6."""
    config = tiny(*IMAGES)
    results, _ = play(config=config, draws=2, budgets=BUDGETS)
    return results, World(config)


def test_the_embedding_is_the_mean_of_the_deepest_map(compared):
    results, world = compared
    assert embedding_of(results) is None
    write_embedding(results.folder, world)
    found, path = embedding_of(results), results.folder / EMBEDDING
    assert sorted(found.images) == sorted(world.splits.compare) and found.points.dtype == np.float32
    assert found.groups == [world.dataset.groups[name] for name in found.images]
    network = world.theta0("compare").eval()
    for name, point in zip(found.images, found.points, strict=True):
        picture = torch.as_tensor(np.array(world.store.image(world.store.index(name))))[None]
        with torch.inference_mode():
            deepest = network.run_stages(network.normalise(picture), 0, len(network.widths))[-1]
        np.testing.assert_allclose(point, deepest[0].mean((1, 2)), rtol=1e-3, atol=1e-4)
    # What is there is kept; that of other settings is not taken, and is made again.
    before = path.stat().st_mtime_ns
    write_embedding(results.folder, world)
    assert path.stat().st_mtime_ns == before
    config = {**results.comparison["config"], "seed": 5}
    assert embedding_of(Results(results.folder, {**results.comparison, "config": config}, results.rows)) is None
    write_embedding(results.folder, World(config))
    assert path.stat().st_mtime_ns > before and embedding_of(results) is None


def test_a_damaged_embedding_is_named(compared):
    results, world = compared
    write_embedding(results.folder, world)
    path = results.folder / EMBEDDING
    whole = path.read_bytes()
    for data in (b"", whole[:-5], whole.replace(b"images", b"imagez")):
        path.write_bytes(data)
        with pytest.raises(RalsegError, match=r"not the embedding of a pool .*; delete it, and it is made again"):
            embedding_of(results)


def test_regions_have_no_embedding_and_no_map(play, tiny):
    results, _ = play()
    write_embedding(results.folder, World(tiny()))
    assert not (results.folder / EMBEDDING).exists() and "collapse" not in summarise(results)
    summary = write_report(results, World(tiny()).dataset)
    assert "auc" not in summary["areas"][0] and not (results.folder / "pool_map.png").exists()
    text = (results.folder / "report.html").read_text()
    assert "Map of the pool" not in text and "budget, units<" in text


def nearest_other(points, own):
    return np.mean([min(np.linalg.norm(points[i] - points[j]) for j in own if j != i) for i in own])


def nearest_chosen(points, own):
    return np.mean([min(np.linalg.norm(point - points[j]) for j in own) for point in points])


def test_figures_are_those_of_each_choice_over_random_ones(compared):
    results, world = compared
    write_embedding(results.folder, world)
    pool, found = embedding_of(results), summarise(results)["collapse"]
    assert found["images"] == 12 and [e["images"] for e in found["entries"]] == [3, 3, 6, 6]
    rng = np.random.default_rng(0)
    for number, budget in enumerate(BUDGETS):
        sets = [rng.permutation(12)[: 3 * (number + 1)] for _ in range(1500)]
        within = np.mean([nearest_other(pool.points, own) for own in sets])
        to = np.mean([nearest_chosen(pool.points, own) for own in sets])
        (chance,) = [entry for entry in found["random"] if entry["budget"] == budget]
        assert chance["spread"]["low"] < chance["spread"]["mean"] == 1 < chance["spread"]["high"]
        for name, runs in results.bought_runs().items():
            (entry,) = [e for e in found["entries"] if (e["policy"], e["budget"]) == (name, budget)]
            own = [[pool.images.index(unit[0]) for unit in run["units"][: run["counts"][number]]] for run in runs]
            spread = [nearest_other(pool.points, one) / within for one in own]
            # The mean over 100 random choices is known to some per cent.
            assert entry["spread"]["mean"] == pytest.approx(np.mean(spread), rel=0.1) and entry["draws"] == 2
            coverage = [to / nearest_chosen(pool.points, one) for one in own]
            assert entry["coverage"]["mean"] == pytest.approx(np.mean(coverage), rel=0.1)
            assert entry["spread"]["low"] <= entry["spread"]["mean"] <= entry["spread"]["high"]
            if found["groups"] is not None:
                shares = [np.unique([pool.groups[i] for i in one], return_counts=True)[1] for one in own]
                assert entry["groups"]["mean"] == pytest.approx(
                    np.mean([effective_number(s) for s in shares]), abs=1e-5
                )
    assert summarise(results)["collapse"] == found and json.dumps(found, allow_nan=False)


def test_one_image_or_all_have_no_spread(compared):
    results, world = compared
    write_embedding(results.folder, world)
    every = embedding_of(results).images
    for name, runs in results.bought_runs().items():
        for run in runs:
            run |= {"units": [[image, 0, 0, 96, 128] for image in every], "counts": [1, 12]}
            assert name == run["policy"]
    found = summarise(results)["collapse"]
    one, whole = found["entries"][0], found["entries"][-1]
    assert one["spread"] is None and one["coverage"] is not None
    assert whole["coverage"] is None and whole["spread"]["mean"] == 1
    assert [entry["spread"] for entry in found["random"]] == [
        dict.fromkeys(("mean", "low", "high"), v) for v in (None, 1)
    ]
    assert json.dumps(found, allow_nan=False) and "Mode collapse, budget 0.5" in markdown(summarise(results))
    write_report(results, world.dataset)


def test_the_report_shows_the_map_and_the_figures(compared):
    results, world = compared
    write_embedding(results.folder, world)
    summary = write_report(results, world.dataset)
    text = (results.folder / "report.html").read_text()
    assert (results.folder / "pool_map.png").stat().st_size > 5000
    drawn = pool_map(results)
    # Axes are uncorrelated, the first varies most; distances on the map are at most those of the embedding.
    points = embedding_of(results).points
    assert drawn.at.var(axis=0)[0] >= drawn.at.var(axis=0)[1] and abs(np.corrcoef(drawn.at.T)[0, 1]) < 1e-3
    apart, on_map = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (points.astype(float), drawn.at))
    assert (on_map <= apart + 1e-4).all() and 0 < drawn.shares.sum() <= 1 + 1e-6
    first = results.bought_runs()["margin"][0]
    assert [len(step) for step in drawn.chosen["margin"]] == [3, 3] and first["seed"] == 0
    names = [embedding_of(results).images[i] for step in drawn.chosen["margin"] for i in step]
    assert names == [unit[0] for unit in first["units"]]
    assert text.count('class="map"') == 2 and text.count("<title>3 images by budget 0.25</title>") == 2
    assert text.split('class="dots"')[0].rsplit('d="', 1)[1].count("h0") == 12
    assert "AUC@50" in text and "labelled share of the images<" in text and "95 % of random choices" in text
    assert [table.title for table in of_summary(summary)][-2:] == [f"Mode collapse, budget {b}" for b in BUDGETS]
    (area,) = [area for area in summary["areas"] if area["policy"] == "margin"]
    assert area["auc"]["mean"] == pytest.approx(0.25 * area["area"]["mean"], abs=1e-5)
