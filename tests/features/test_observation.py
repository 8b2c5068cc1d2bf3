from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import ralseg.configs
from ralseg.features import (
    ObservationSpec,
    PrincipalComponents,
    TokenLayout,
    kl_histogram,
    linear_edges,
    log_edges,
    released_histogram,
    similarity_histogram,
    spec_from_config,
)
from ralseg.features.parts import EXTRAS, PRESETS, highest_values
from ralseg.foundation import RalsegError

CLASSES, N, M, D = 5, 14, 9, 12
EMBEDDINGS = np.random.default_rng(3).normal(size=(M, D)).astype(np.float32)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(CLASSES, 0.5), N).astype(np.float32)
    return {
        "shares": shares,
        "probabilities": rng.dirichlet(np.full(CLASSES, 0.5), N).astype(np.float32),
        "entropy": rng.random((N, 192), np.float32),
        "uncertainty": rng.random((N, 4), np.float32),
        "embedding": rng.normal(size=(N, D)).astype(np.float32),
        "disagreement": rng.random((N, 1), np.float32),
        "released_counts": np.hstack([shares * 7200, np.full((N, 1), 1e-7)]).astype(np.float32),
        "released_entropy": rng.random((N, 192), np.float32),
    }


@pytest.fixture
def step():
    counts = np.random.default_rng(1).integers(1, 900, (M, CLASSES))
    return {"counts": counts, "areas": counts.sum(axis=1) + 50, "iou": np.linspace(0.1, 0.9, CLASSES)}


def build(spec, features, step):
    if "embedding" in spec.needs:
        spec = spec.with_components(PrincipalComponents.fit(features["embedding"], spec.embedding_width))
    features = {name: features[name] for name in spec.needs}
    labelled = spec.true_shares(step["counts"], step["areas"])
    given = labelled, step["iou"], step["counts"].sum(axis=0), EMBEDDINGS
    return spec.candidates(features, *given), spec.state(features), spec


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        (name, extra)
        for name in PRESETS
        for extra in ((), ("disagreement",), EXTRAS)
        if name != "transferable" or extra != EXTRAS
    ],
)
def test_widths_bounds_and_types(name, extra, features, step):
    candidates, state, spec = build(ObservationSpec.preset(name, CLASSES, extra, components=3), features, step)
    assert candidates.shape == (N, spec.candidate_width)
    assert state.shape == (N, spec.state_width)
    for rows, (low, high) in ((candidates, spec.candidate_bounds), (state, spec.state_bounds)):
        assert rows.dtype == low.dtype == high.dtype == np.float32
        assert low.shape == high.shape == rows.shape[1:]
        assert ((rows >= low) & (rows <= high)).all()
        assert ((low <= 0) & (high >= 0)).all()


def test_widths_of_the_paper():
    assert ObservationSpec.preset("published", 11).state_width == 11 + 192
    assert ObservationSpec.preset("published", 11).candidate_width == 11 + 192 + 64
    assert ObservationSpec.preset("as_released", 11).state_width == 204
    assert ObservationSpec.preset("as_released", 11).candidate_width == 268
    assert ObservationSpec.preset("as_released", 19).candidate_width == 276
    assert ObservationSpec.preset("compact", 11).candidate_width == 11 + 4 + 20
    assert ObservationSpec.preset("compact", 11, EXTRAS, 32).candidate_width == 11 + 4 + 20 + 32 + 11 + 11 + 1
    assert ObservationSpec.preset("3h", 11).candidate_width == ObservationSpec.preset("3h", 11).state_width == 11 + 192
    assert ObservationSpec.preset("1h", 11).candidate_width == ObservationSpec.preset("1h", 11).state_width == 11 + 64


@pytest.mark.parametrize(("name", "edges"), [("published", linear_edges()), ("compact", log_edges())])
def test_values_stand_in_order(name, edges, features, step):
    candidates, state, spec = build(ObservationSpec.preset(name, CLASSES, EXTRAS, 3), features, step)
    second = "entropy" if name == "published" else "uncertainty"
    true = step["counts"] / step["counts"].sum(axis=1, keepdims=True)
    held = step["counts"].sum(axis=0) / step["counts"].sum()
    expected = [
        features["shares"],
        features[second],
        kl_histogram(features["shares"], true, edges),
        kl_histogram(features["shares"], features["shares"], edges),
        spec.components.transform(features["embedding"]),
        np.tile(held, (N, 1)),
        np.tile(step["iou"], (N, 1)),
        features["disagreement"],
    ]
    np.testing.assert_allclose(candidates, np.hstack(expected), rtol=1e-5)
    np.testing.assert_allclose(state, np.hstack([expected[0], expected[1], expected[4]]), rtol=1e-5)


def test_as_released_values(features, step):
    candidates, _, _ = build(ObservationSpec.preset("as_released", CLASSES), features, step)
    void = (step["areas"] - step["counts"].sum(axis=1))[:, None]
    true = np.hstack([step["counts"], void]) / step["areas"][:, None]
    counts = features["released_counts"]
    expected = [
        counts,
        features["released_entropy"],
        released_histogram(counts, true),
        released_histogram(counts, counts),
    ]
    np.testing.assert_allclose(candidates, np.hstack(expected), rtol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_permuted_candidates_permute_the_rows(name, features, step):
    spec = ObservationSpec.preset(name, CLASSES, ("disagreement",), 3)
    order = np.random.default_rng(2).permutation(N)
    candidates, _, _ = build(spec, features, step)
    permuted, _, _ = build(spec, {name: array[order] for name, array in features.items()}, step)
    np.testing.assert_allclose(permuted, candidates[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["published", "as_released", "compact"])
def test_nothing_labelled_and_no_candidate(name, features, step):
    nothing = {"counts": np.zeros((0, CLASSES), int), "areas": np.zeros(0, int), "iou": step["iou"]}
    spec = ObservationSpec.preset(name, CLASSES)
    candidates, _, _ = build(spec, features, nothing)
    first = spec.state_width
    bins = spec.width(spec.candidate_parts[2])
    np.testing.assert_array_equal(candidates[:, first : first + bins], 0)
    assert (candidates[:, first + bins :].sum(axis=1) > 0.99).all()
    empty, state, _ = build(spec, {name: array[:0] for name, array in features.items()}, step)
    assert empty.shape == (0, spec.candidate_width)
    assert state.shape == (0, spec.state_width)


def test_transferable_values(features, step):
    candidates, state, spec = build(ObservationSpec.preset("transferable", CLASSES, (), 3), features, step)
    shares, true = features["shares"], step["counts"] / step["counts"].sum(axis=1, keepdims=True)
    projected = spec.components.transform(features["embedding"])
    uncertainty = features["uncertainty"] / [np.log(CLASSES), np.log(CLASSES), np.log(CLASSES), 1]
    per_class = [
        shares,
        features["probabilities"],
        np.tile(step["counts"].sum(axis=0) / step["counts"].sum(), (N, 1)),
        np.tile(shares.mean(axis=0), (N, 1)),
        np.tile(step["iou"], (N, 1)),
    ]
    free = [
        uncertainty,
        kl_histogram(shares, true, log_edges()),
        kl_histogram(shares, shares, log_edges()),
        similarity_histogram(projected, spec.components.transform(EMBEDDINGS)),
        similarity_histogram(projected, projected),
    ]
    np.testing.assert_allclose(candidates, np.hstack([*per_class, *free]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, np.hstack([per_class[0], per_class[1], free[0]]), rtol=1e-5)
    assert spec.token_layout == TokenLayout(2, 4, 5, 4 + 20 + 20)
    # The margin is the last of the four uncertainties.
    assert spec.prior_column("margin") == 5 * CLASSES + 3
    with_noise = ObservationSpec.preset("transferable", CLASSES, ("disagreement",), 3)
    assert with_noise.token_layout == TokenLayout(2, 4, 5, 4 + 20 + 20 + 1)


def test_which_rows_have_tokens():
    assert ObservationSpec(CLASSES, ("shares",), ("shares", "iou", "kl_labelled")).token_layout == TokenLayout(
        1, 0, 2, 32
    )
    assert ObservationSpec.preset("compact", CLASSES).token_layout is None
    assert ObservationSpec(CLASSES, ("shares",), ("iou", "shares")).token_layout is None
    assert ObservationSpec(CLASSES, ("shares",), ("shares", "kl_labelled", "iou")).token_layout is None
    assert ObservationSpec(CLASSES, ("relative_uncertainty",), ("shares",)).token_layout is None


@pytest.mark.parametrize("extra", ["embedding", "labelled_shares", "iou"])
def test_what_does_not_transfer_is_refused(extra):
    with pytest.raises(RalsegError, match=f"the extra {extra} is held by features=transferable already, or would mean"):
        ObservationSpec.preset("transferable", CLASSES, (extra,))


def test_no_transferable_candidate(features, step):
    spec = build(ObservationSpec.preset("transferable", CLASSES, (), 3), features, step)[2]
    none = {name: array[:0] for name, array in features.items() if name in spec.needs}
    given = spec.true_shares(step["counts"], step["areas"]), step["iou"], step["counts"].sum(axis=0), EMBEDDINGS
    assert spec.candidates(none, *given).shape == (0, spec.candidate_width)


def test_units_of_void_alone_are_no_reference(features, step):
    spec = ObservationSpec.preset("compact", CLASSES)
    with_void = dict(step, counts=np.vstack([step["counts"], np.zeros((3, CLASSES), int)]))
    np.testing.assert_array_equal(build(spec, features, with_void)[0], build(spec, features, step)[0])


def test_an_undefined_iou_counts_as_zero(features, step):
    spec = ObservationSpec.preset("compact", CLASSES, ("iou",))
    step["iou"][2] = np.nan
    candidates, _, _ = build(spec, features, step)
    np.testing.assert_allclose(candidates[:, -CLASSES:], np.tile([0.1, 0.3, 0, 0.7, 0.9], (N, 1)), rtol=1e-6)


def test_what_is_not_said_and_what_is_just_allowed():
    assert ObservationSpec(2, ("embedding",), ("embedding",)).state_width == 32
    for classes in (2, 255):
        assert (
            ObservationSpec(classes, ("shares",), ("shares",), smoothing=1e-9, embedding_width=1).state_width == classes
        )
    for refused in ({"classes": 1}, {"classes": 256}, {"smoothing": 0}, {"embedding_width": 0}):
        with pytest.raises(RalsegError, match="give 2 to 255, more than 0, and 1 or more"):
            ObservationSpec(**{"classes": 2, "state_parts": ("shares",), "candidate_parts": ("shares",)} | refused)


def test_highest_values_by_hand():
    highest = highest_values(5, 3, 10)
    most = np.log(5)
    np.testing.assert_array_equal(highest["uncertainty"], [most, most, most, 1])
    np.testing.assert_array_equal(highest["relative_uncertainty"], [1, 1, 1, 1])
    np.testing.assert_array_equal(highest["disagreement"], [most])
    np.testing.assert_array_equal(highest["embedding"], [np.inf] * 3)
    np.testing.assert_array_equal(highest["released_counts"], [np.inf] * 6)
    widths = {"shares": 5, "entropy": 192, "highest_entropy": 64, "kl_labelled": 10, "released_kl_labelled": 32}
    assert {part: len(highest[part]) for part in widths} == widths


def test_fewer_components_do_where_no_row_holds_them(features):
    spec = ObservationSpec(CLASSES, ("shares",), ("shares", "similarity_unlabelled"))
    fitted = spec.with_components(PrincipalComponents.fit(features["embedding"], 2))
    assert (fitted.embedding_width, fitted.candidate_width) == (2, spec.candidate_width)
    assert fitted == replace(spec, embedding_width=2)


def test_bad_specs_are_refused():
    with pytest.raises(RalsegError, match=r"no candidate part \['colour'\]; choose from shares"):
        ObservationSpec(5, ("shares",), ("shares", "colour"))
    with pytest.raises(RalsegError, match=r"no state part \['iou'\]"):
        ObservationSpec(5, ("iou",), ("shares",))
    with pytest.raises(RalsegError, match="each once"):
        ObservationSpec(5, ("shares", "shares"), ("shares",))
    with pytest.raises(RalsegError, match="take one"):
        ObservationSpec(5, ("shares",), ("kl_labelled", "released_kl_labelled"))
    with pytest.raises(RalsegError, match="1 classes"):
        ObservationSpec(1, ("shares",), ("shares",))
    with pytest.raises(RalsegError, match="no preset 'tiny'; choose from 1h, 3h, published"):
        ObservationSpec.preset("tiny", 5)
    with pytest.raises(RalsegError, match="no extra part"):
        ObservationSpec.preset("compact", 5, ("shares",))
    fitted = PrincipalComponents.fit(np.random.default_rng(0).normal(size=(9, 4)), 2)
    with pytest.raises(RalsegError, match="2 fitted components where 3"):
        ObservationSpec.preset("compact", 5, ("embedding",), 3).with_components(fitted)


def test_bad_arrays_are_refused(features, step):
    spec = ObservationSpec.preset("compact", CLASSES, ("iou", "labelled_shares"))
    labelled, held = spec.true_shares(step["counts"], step["areas"]), step["counts"].sum(axis=0)

    def call(changed=None, labelled=labelled, iou=step["iou"], held=held):
        return spec.candidates({**features, **(changed or {})}, labelled, iou, held)

    assert call().shape == (N, spec.candidate_width)
    with pytest.raises(RalsegError, match="shares has shape"):
        call({"shares": features["shares"][:, :4]})
    with pytest.raises(RalsegError, match="uncertainty holds NaN"):
        call({"uncertainty": np.full((N, 4), np.nan)})
    with pytest.raises(RalsegError, match="one row of each per unit"):
        call({"uncertainty": features["uncertainty"][:3]})
    with pytest.raises(RalsegError, match="labelled_true_shares is needed"):
        call(labelled=None)
    with pytest.raises(RalsegError, match=r"give \(any, 5\)"):
        call(labelled=labelled[:, :4])
    with pytest.raises(RalsegError, match="iou has shape"):
        call(iou=np.zeros(4))
    with pytest.raises(RalsegError, match="labelled_counts holds NaN"):
        call(held=np.full(CLASSES, np.nan))
    with pytest.raises(RalsegError, match="uncertainty is needed"):
        spec.state({"shares": features["shares"]})
    with pytest.raises(RalsegError, match="no fitted components"):
        ObservationSpec.preset("compact", CLASSES, ("embedding",)).state(features)


@pytest.mark.parametrize("path", sorted(Path(ralseg.configs.__file__).parent.glob("features/*.yaml")), ids=str)
def test_shipped_configs_are_specs(path):
    spec = spec_from_config(yaml.safe_load(path.read_text()), 11)
    assert spec.state_width > 11
    if path.stem in PRESETS:
        assert spec == ObservationSpec.preset(path.stem, 11)


def test_configs():
    spec = spec_from_config({"preset": "compact", "extra": ["embedding", "labelled_shares"], "components": 8}, 5)
    assert spec == ObservationSpec.preset("compact", 5, ("embedding", "labelled_shares"), 8)
    assert spec != replace(spec, smoothing=1e-3)
    assert spec.needs == {"shares", "uncertainty", "embedding"}
    for config, words in (
        ({"extra": []}, "^features needs preset; give it, too$"),
        ({"preset": "compact", "bins": 3}, "^features.bins is unknown; features has preset, extra, components, noise$"),
        ({"preset": "compact", "extra": "embedding"}, "^features.extra='embedding' must be a list of values$"),
        ({"preset": "compact", "components": 0}, "^features.components=0 is out of range; it must be 1 or more$"),
        ({"preset": "compact", "components": 2.5}, "^features.components=2.5 must be a whole number$"),
        ({"preset": "none"}, "choose from"),
    ):
        with pytest.raises(RalsegError, match=words):
            spec_from_config(config, 5)


def test_the_margin_is_found_where_the_uncertainty_ends():
    spec = ObservationSpec.preset("compact", CLASSES, ("labelled_shares",))
    assert spec.candidate_parts[:2] == ("shares", "uncertainty")
    assert spec.prior_column("margin") == CLASSES + 3
    assert ObservationSpec.preset("published", CLASSES).prior_column("margin") is None


def test_the_disagreement_is_found_and_no_part_of_the_state():
    spec = ObservationSpec.preset("compact", CLASSES, ("disagreement", "labelled_shares"))
    assert spec.prior_column("disagreement") == spec.candidate_width - CLASSES - 1
    assert ObservationSpec.preset("compact", CLASSES).prior_column("disagreement") is None
    with pytest.raises(RalsegError, match=r"no state part \['disagreement'\]"):
        ObservationSpec(CLASSES, ("disagreement",), ("shares",))


def test_maxima_alone_are_the_end_of_the_pooled_entropy(features):
    spec = ObservationSpec.preset("1h", CLASSES)
    expected = np.hstack([features["shares"], features["entropy"][:, 128:]])
    np.testing.assert_array_equal(spec.candidates(features), expected)
    np.testing.assert_array_equal(spec.state(features), expected)
