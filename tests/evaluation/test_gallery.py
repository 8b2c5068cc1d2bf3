import cv2
import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.envs import World
from ralseg.evaluation.gallery import gallery_images, read_maps
from ralseg.evaluation.report import write_report
from ralseg.foundation import RalsegError, generator


def counted(label, classes, size):
    """(true, predicted) pixels, the slow way."""
    counts = np.zeros((size, size), np.int64)
    known = label < 255
    np.add.at(counts, (label[known], classes[known]), 1)
    return counts


def test_images_are_of_different_parts_and_show_the_most_classes(tiny):
    world = World(tiny("protocol.counts={state: 5, train: 5, compare: 9, dev: 2}"))
    names, groups = world.store.names, world.dataset.groups
    ordered = sorted((groups[names[i]], names[i]) for i in world.images("compare"))
    parts = [ordered[:3], ordered[3:5], ordered[5:7], ordered[7:]]
    chosen = [names[i] for i in gallery_images(world)]
    for part, name in zip(parts, chosen, strict=True):
        shown = {own: len(np.setdiff1d(world.dataset.load(own)[1], [255])) for _, own in part}
        assert shown[name] == max(shown.values())
    assert len(gallery_images(world, 50)) == 9


def test_predictions_of_the_first_run_are_kept(play, tiny):
    results, _ = play(policies=["random", "margin"], draws=2, budgets=[2, 6])
    world = World(tiny())
    images = gallery_images(world)
    assert results.comparison["gallery"] == [world.store.names[i] for i in images]
    game, policy = world.game("compare", observed=False), FixedPolicy(make("margin"))
    runs = {row["run_id"]: row["seed"] for row in results.rows if row["policy"] == "margin"}
    for run_id, seed in runs.items():
        if seed != 0:
            assert read_maps(results.folder, run_id, results.comparison["gallery"][0]) is None
            continue
        game.reset(0)
        expected = [[game.evaluator(game.learner, [i]).counts for i in images]]
        while not game.over:
            game.step(policy.select(game.view(policy.needs, False), generator(0, "policy", game.turn)))
        expected.append([game.evaluator(game.learner, [i]).counts for i in images])
        for place, image in enumerate(images):
            label = world.store.label(image)
            for when, classes in enumerate(read_maps(results.folder, run_id, world.store.names[image])):
                assert classes.shape == label.shape and classes.dtype == np.uint8
                np.testing.assert_array_equal(counted(label, classes, game.learner.classes), expected[when][place])


def test_runs_that_are_there_are_not_played_again_for_a_picture(play, tiny):
    results, _ = play(policies=["random"], budgets=[2])
    dataset = World(tiny()).dataset
    write_report(results, dataset)
    page = results.folder / "report.html"
    assert "after, " in page.read_text() and "shown without" not in page.read_text()
    for path in (results.folder / "gallery").rglob("*.png"):
        path.unlink()
    again, played = play(policies=["random"], budgets=[2])
    assert not played
    write_report(again, dataset)
    assert "and so shown without: random." in page.read_text() and "after, " not in page.read_text()


def test_a_damaged_map_is_named(play):
    results, _ = play(policies=["random"], budgets=[2])
    paths = sorted((results.folder / "gallery").rglob("*.png"))
    run_id, image = paths[0].parent.name, results.comparison["gallery"][0]
    for data in (b"", b"no picture", cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()):
        next(path for path in paths if path.name.startswith(image)).write_bytes(data)
        with pytest.raises(RalsegError, match=r"after.png: not a map of classes; delete"):
            read_maps(results.folder, run_id, image)
