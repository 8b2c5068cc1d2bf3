"""The observation: which parts describe a unit of D_S and a candidate, joined to one row for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ralseg.features.class_shares import released_true_shares, true_shares
from ralseg.features.components import PrincipalComponents
from ralseg.features.histograms import SMOOTHING, kl_histogram, linear_edges, released_histogram, similarity_histogram
from ralseg.features.parts import (
    CANDIDATE_PARTS,
    CLASS_PARTS,
    EXTRAS,
    PRESETS,
    READS,
    STATE_PARTS,
    Prior,
    TokenLayout,
    highest_values,
    token_layout,
)
from ralseg.features.prediction import FEATURE_NOISE, Noise
from ralseg.features.unit_features import UNIT_FEATURES, feature_reducers
from ralseg.features.units import Reducer
from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class ObservationSpec:
    """The parts of an observation, in order.

    Parts of a unit (state and candidates): `shares`, `probabilities`, `entropy`, `highest_entropy` (its maxima alone),
    `uncertainty`, `relative_uncertainty` (its entropies divided by ln C), `embedding`, `released_counts`,
    `released_entropy`, as `unit_features` gives them, the embedding in its principal components. Parts of a candidate
    only: `disagreement`, as `unit_features` gives it; `kl_labelled` and `kl_unlabelled` (histograms of the KL to the
    labelled units' true shares, and to all candidates of the step, itself included), their `released_` variants;
    `similarity_labelled` and `similarity_unlabelled` (histograms of the cosine similarity of the embedding's principal
    components to those of D_S and the labelled units, and of all candidates of the step); and three that are the same
    for all candidates: `labelled_shares` (the class shares of the labelled set), `pool_shares` (the predicted class
    shares of the candidates of the step) and `iou` (the present IoU per class on D_S).

    Args:
        classes: number of classes C, 2 to 255.
        state_parts: names of `STATE_PARTS`.
        candidate_parts: names of `CANDIDATE_PARTS`.
        kl_edges: ascending bin edges of the KL histograms, nats.
        smoothing: smoothing of the class shares in the KL, above 0.
        embedding_width: number of principal components of the embedding.
        noise: what `disagreement` is measured under.
        components: the fitted projection; needed before a row with an embedding is made.

    Raises:
        RalsegError: on an unknown or repeated part, a bad number, or components of another width.
    """

    classes: int
    state_parts: tuple[str, ...]
    candidate_parts: tuple[str, ...]
    kl_edges: tuple[float, ...] = tuple(float(edge) for edge in linear_edges())
    smoothing: float = SMOOTHING
    embedding_width: int = 32
    noise: Noise = FEATURE_NOISE
    components: PrincipalComponents | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        for kind, parts, known in (
            ("state", self.state_parts, STATE_PARTS),
            ("candidate", self.candidate_parts, CANDIDATE_PARTS),
        ):
            unknown = sorted(set(parts) - set(known))
            if unknown:
                raise RalsegError(f"observation: no {kind} part {unknown}; choose from {', '.join(known)}")
            if not parts or len(set(parts)) < len(parts):
                raise RalsegError(f"observation: the {kind} parts {list(parts)} must be one or more, each once")
        if {"kl_labelled", "released_kl_labelled"} <= set(self.candidate_parts):
            raise RalsegError(
                "observation: kl_labelled and released_kl_labelled read different shares; take one of them"
            )
        if not 2 <= self.classes <= 255 or not self.smoothing > 0 or self.embedding_width < 1:
            raise RalsegError(
                f"observation: {self.classes} classes, smoothing {self.smoothing}, {self.embedding_width} components; "
                "give 2 to 255, more than 0, and 1 or more"
            )
        if self.components is not None and len(self.components) != self.embedding_width:
            raise RalsegError(
                f"observation: {len(self.components)} fitted components where {self.embedding_width} are set; fit again"
            )

    @classmethod
    def preset(
        cls,
        name: str,
        classes: int,
        extra: Sequence[str] = (),
        components: int = 32,
        noise: Noise = FEATURE_NOISE,
    ) -> "ObservationSpec":
        """A named choice of parts.

        `published` (RALIS): shares and pooled entropy, for candidates two KL histograms of 32 bins over one fixed
        range. `3h`: the same without KL histograms; `1h`: only the maxima of the pooled entropy (RALIS, Table E.1).
        `as_released`: as computed by its code. `compact`: shares, four uncertainty figures, KL histograms of 10
        logarithmic bins. `transferable`: numbers per class, then numbers that depend on neither the classes nor the
        network, see `token_layout`; its only extra is `disagreement`.

        Args:
            name: one of `PRESETS`.
            classes: number of classes C.
            extra: names of `EXTRAS`: `embedding` is added to state and candidates, the others to the candidates.
            components: number of principal components of the embedding.
            noise: what the extra `disagreement` is measured under.

        Raises:
            RalsegError: on an unknown name or extra.
        """
        if name not in PRESETS:
            raise RalsegError(f"observation: no preset {name!r}; choose from {', '.join(PRESETS)}")
        unknown = sorted(set(extra) - set(EXTRAS))
        if unknown:
            raise RalsegError(f"observation: no extra part {unknown}; choose from {', '.join(EXTRAS)}")
        unit, candidate, edges = PRESETS[name]
        state, candidate = (*unit, *(part for part in extra if part == "embedding")), (*unit, *candidate, *extra)
        if name == "transferable":
            if refused := sorted(set(extra) & {"embedding", "labelled_shares", "iou"}):
                raise RalsegError(
                    f"observation: the extra {refused[0]} is held by features=transferable already, or would mean "
                    "something else with another network; leave it out"
                )
            candidate = tuple(sorted(candidate, key=lambda part: part not in CLASS_PARTS))
        return cls(
            classes=classes,
            state_parts=state,
            candidate_parts=candidate,
            kl_edges=tuple(float(edge) for edge in edges()),
            embedding_width=components,
            noise=noise,
        )

    @cached_property
    def _highest(self) -> dict[str, np.ndarray]:
        return highest_values(self.classes, self.embedding_width, len(self.kl_edges) - 1)

    def with_components(self, components: PrincipalComponents) -> "ObservationSpec":
        """The same observation with a fitted projection of the embedding.

        If no row holds the embedding itself, the projection may have fewer components than were asked for.
        """
        width = self.embedding_width if self.holds_embedding else len(components)
        return replace(self, components=components, embedding_width=width)

    @property
    def holds_embedding(self) -> bool:
        """Whether rows hold the embedding itself, which means nothing with another network."""
        return "embedding" in self.state_parts + self.candidate_parts

    @property
    def needs(self) -> set[str]:
        """Names of the unit features that the rows are computed from."""
        parts = (READS.get(part, part) for part in self.state_parts + self.candidate_parts)
        return set(parts) & set(UNIT_FEATURES)

    @property
    def reducers(self) -> tuple[Reducer, ...]:
        """The reducers that the rows are computed from."""
        return feature_reducers(self.needs, self.noise)

    @property
    def state_width(self) -> int:
        """F, the numbers per unit of D_S."""
        return sum(self.width(part) for part in self.state_parts)

    @property
    def candidate_width(self) -> int:
        """F', the numbers per candidate."""
        return sum(self.width(part) for part in self.candidate_parts)

    @property
    def labelled_width(self) -> int:
        """Numbers per labelled unit that `candidates` expects: C, or C + 1 (void is a class) as released."""
        return self.classes + ("released_kl_labelled" in self.candidate_parts)

    def width(self, part: str) -> int:
        """How many numbers a part has."""
        return len(self._highest[part])

    def prior_column(self, prior: Prior) -> int | None:
        """The column of a `Prior` in a candidate's row, or None if the row does not hold it.

        The mean margin is the last of `uncertainty` and of `relative_uncertainty`.
        """
        of = {"margin": ("uncertainty", "relative_uncertainty"), "disagreement": ("disagreement",)}[prior]
        part = next((part for part in self.candidate_parts if part in of), None)
        if part is None:
            return None
        parts = self.candidate_parts[: self.candidate_parts.index(part) + 1]
        return sum(self.width(part) for part in parts) - 1

    @property
    def token_layout(self) -> TokenLayout | None:
        """How a network of class tokens reads the rows; None if a part depends on the classes or the network."""
        return token_layout(self.state_parts, self.candidate_parts, self.width)

    @property
    def state_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(F,) float32 lowest and highest values of a row of the state; infinite where there is no bound."""
        return self._bounds(self.state_parts)

    @property
    def candidate_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(F',) float32 lowest and highest values of a candidate's row, including 0, which masked rows hold."""
        return self._bounds(self.candidate_parts)

    def true_shares(self, counts: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Class shares of labelled units in the form that `candidates` takes.

        Args:
            counts: (m, C) labelled pixels per class.
            areas: (m,) pixels of each unit.

        Returns:
            (m, labelled_width) float32.
        """
        return true_shares(counts) if self.labelled_width == self.classes else released_true_shares(counts, areas)

    def state(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rows of the state.

        Args:
            features: name -> (S, width) unit features of D_S, one row per unit.

        Returns:
            (S, F) float32.

        Raises:
            RalsegError: if a feature is missing, of another shape, or NaN.
        """
        return self._assemble(self.state_parts, features, {})

    def candidates(
        self,
        features: Mapping[str, np.ndarray],
        labelled_true_shares: np.ndarray | None = None,
        iou: np.ndarray | None = None,
        labelled_counts: np.ndarray | None = None,
        labelled_embedding: np.ndarray | None = None,
    ) -> np.ndarray:
        """Rows of all valid candidates of one step.

        Args:
            features: name -> (n, width) unit features of the n candidates.
            labelled_true_shares: (m, labelled_width) of the labelled units, from `true_shares`; all-void units (zeros)
                are no reference. Needed by `kl_labelled` and its released variant.
            iou: (C,) of D_S in [0, 1]; NaN (a class neither present nor predicted) counts as 0. Needed by `iou`.
            labelled_counts: (C,) labelled pixels per class so far. Needed by `labelled_shares`.
            labelled_embedding: (m, sum of D_i) mean embeddings of D_S's and the labelled units. Needed by
                `similarity_labelled`.

        Returns:
            (n, F') float32.

        Raises:
            RalsegError: if something needed is missing, of another shape, or NaN.
        """
        shapes = {
            "labelled_true_shares": (labelled_true_shares, (None, self.labelled_width)),
            "iou": (iou, (self.classes,)),
            "labelled_counts": (labelled_counts, (self.classes,)),
            "labelled_embedding": (labelled_embedding, (None, None)),
        }
        step = {name: _checked(name, array, shape) for name, (array, shape) in shapes.items() if array is not None}
        return self._assemble(self.candidate_parts, features, step)

    def _assemble(
        self, parts: tuple[str, ...], features: Mapping[str, np.ndarray], step: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        read = {READS.get(part, part) for part in parts} & set(UNIT_FEATURES)
        widths = {name: None if name == "embedding" else self.width(name) for name in read}
        features = {name: _checked(name, _given(features, name), (None, widths[name])) for name in sorted(read)}
        lengths = {name: len(array) for name, array in features.items()}
        if len(set(lengths.values())) != 1:
            raise RalsegError(f"observation: unit features of {lengths} rows; give one row of each per unit")
        rows = next(iter(lengths.values()))
        columns = [self._part(part, features, step) for part in parts]
        columns = [np.broadcast_to(column, (rows, column.shape[-1])) for column in columns]
        low, high = self._bounds(parts)
        # Rounding may move a float32 mean out of the range that Gymnasium's space promises.
        return np.clip(np.concatenate(columns, axis=1), low, high).astype(np.float32, copy=False)

    def _part(self, part: str, features: Mapping[str, np.ndarray], step: Mapping[str, np.ndarray]) -> np.ndarray:
        match part:
            case "embedding":
                return self._projected(features[part])
            case "similarity_labelled" | "similarity_unlabelled":
                own = self._projected(features[READS[part]])
                if part == "similarity_unlabelled":
                    return similarity_histogram(own, own)
                return similarity_histogram(own, self._projected(_given(step, "labelled_embedding")))
            case "relative_uncertainty":
                return features[READS[part]] / np.array([*[np.log(self.classes)] * 3, 1], np.float32)
            case "pool_shares":
                return features[READS[part]].mean(axis=0) if len(features[READS[part]]) else np.zeros(self.classes)
            case "highest_entropy":
                return features[READS[part]][:, -self.width(part) :]
            case "kl_labelled" | "released_kl_labelled":
                labelled = _given(step, "labelled_true_shares")
                return self._kl(part, features, labelled[labelled.any(axis=1)])
            case "kl_unlabelled" | "released_kl_unlabelled":
                return self._kl(part, features, features[READS[part]])
            case "labelled_shares":
                return true_shares(_given(step, "labelled_counts"))
            case "iou":
                return np.nan_to_num(_given(step, "iou"), nan=0.0)
            case _:
                return features[part]

    def _projected(self, embedding: np.ndarray) -> np.ndarray:
        if self.components is None:
            raise RalsegError("observation: the embedding has no fitted components; call with_components first")
        return self.components.transform(embedding)

    def _kl(self, part: str, features: Mapping[str, np.ndarray], references: np.ndarray) -> np.ndarray:
        own = features[READS[part]]
        if part.startswith("released"):
            return released_histogram(own, references)
        return kl_histogram(own, references, np.array(self.kl_edges), self.smoothing)

    def _bounds(self, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        high = np.concatenate([self._highest[part] for part in parts])
        low = np.concatenate([np.full(self.width(part), -np.inf if part == "embedding" else 0) for part in parts])
        return low.astype(np.float32), high.astype(np.float32)


def _given(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise RalsegError(f"observation: {name} is needed by this observation and was not given")
    return arrays[name]


def _checked(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array as float32, if its shape is `shape` (None: any length) and it holds no NaN (but for an IoU)."""
    array = np.asarray(array, dtype=np.float32)
    if array.ndim != len(shape) or any(b is not None and a != b for a, b in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise RalsegError(f"observation: {name} has shape {array.shape}; give ({wanted})")
    if name != "iou" and not np.isfinite(array).all():
        raise RalsegError(f"observation: {name} holds NaN or infinities")
    return array
