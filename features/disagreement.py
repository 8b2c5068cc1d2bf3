"""Maps of how far several noisy predictions of the same pixels disagree, as a measure of the network's uncertainty.

Logits are numpy arrays or torch tensors, as in `softmax_maps`. Noisy predictions are (M, ..., C, h, w): M draws of the
prediction (..., C, h, w). Values that are not finite are refused on the host and turn into NaN on a device.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ralseg.features.arrays import Array, cast, namespace
from ralseg.features.softmax_maps import CLASS_AXIS, Softmax, entropy_map
from ralseg.foundation import RalsegError

LEAST_PROBABILITY = 1e-100
"""Balanced entropy: a draw's probability of a class, and of all others together, is raised to this value."""

LEAST_DEVIATION = 1e-6
"""Balanced entropy: the draws' standard deviation, in units of m (1 - m), that is the least of their logits."""

LEAST_CONCENTRATION = 1e-12
"""Balanced entropy: the least a + b of a fitted Beta; it keeps the entropy finite where all draws are 0 or 1."""

LEAST_BALANCE = 1e-6
"""Balanced entropy: a balance between 0 and this value is raised to it, so that its inverse is finite."""

TINY = float(np.finfo(np.float32).tiny)


def mutual_information_map(noisy: Array) -> Array:
    """Mutual information of a pixel's class and the network's weights, BALD (Houlsby et al. 2011): H(mean p) - mean H.

    Args:
        noisy: (M, ..., C, h, w) logits.

    Returns:
        (..., h, w) float32 nats, 0 or more.

    Raises:
        RalsegError: as `Softmax`, and if the first dimension, that of the draws, is missing.
    """
    mean, entropy = _means(noisy, lambda draw: (draw.probabilities, draw.entropy))
    return namespace(noisy).clip(_entropy(mean) - entropy, 0, None)


def balanced_entropy_map(noisy: Array) -> Array:
    """The balanced entropy acquisition, BalEntAcq (Woo, ICLR 2023).

    The draws of each class probability P_i are matched in mean m_i and variance v_i by a Beta(a_i, b_i) with
    a_i = m_i^2 (1 - m_i) / v_i - m_i and b_i = (1 / m_i - 1) a_i. P_i+ ~ Beta(a_i + 1, b_i) is its posterior where the
    class is i, with differential entropy h. The balance is (sum_i m_i h(P_i+) + H(m)) / (H(m) + ln 2).

    Args:
        noisy: (M, ..., C, h, w) logits; fewer than 2 draws say nothing.

    Returns:
        (..., h, w) float32, finite: 1 / balance where the balance is 0 or more, the balance itself where it is
        negative. It is computed in float64, and bounded by the constants of this module alone, so that draws that are
        all but certain rank as the formula says; their balance falls without bound as they become more certain.

    Raises:
        RalsegError: as `mutual_information_map`.
    """
    _check(noisy)
    xp = namespace(noisy)
    first, first_rest = _probabilities(Softmax(noisy[0]))

    def moments(draw: Softmax) -> tuple[Array, ...]:
        p, rest = _probabilities(draw)
        # Of the smaller one, and from the first draw on, so that no difference of near equals loses its digits.
        deviation = xp.where(first > 0.5, first_rest - rest, p - first)
        return p, rest, p * rest, deviation, deviation * deviation

    mean, rest, spread, deviation, square = _means(noisy, moments)
    least = LEAST_DEVIATION * mean * rest
    variance = xp.maximum(square - deviation * deviation, least * least)
    # a + b = m (1 - m) / v - 1, and m (1 - m) - v is the mean of p (1 - p).
    concentration = xp.clip(spread / variance, LEAST_CONCENTRATION, None)
    posterior = _beta_entropy(mean * concentration + 1, rest * concentration)
    entropy = _entropy(mean)
    balance = (xp.sum(mean * posterior, axis=CLASS_AXIS) + entropy) / (entropy + math.log(2))
    return cast(xp.where(balance < 0, balance, 1 / xp.clip(balance, LEAST_BALANCE, None)), "float32")


def symmetric_divergence_map(logits: Array, noisy: Array) -> Array:
    """EquAL (Golestaneh and Kitani, BMVC 2020): mean over the draws q of (KL(p || q) + KL(q || p)) / 2.

    Args:
        logits: (..., C, h, w) of p, the prediction.
        noisy: (M, ..., C, h, w) of the draws; EquAL's one draw is the prediction of the mirrored image, mirrored back.

    Returns:
        (..., h, w) float32 nats, 0 or more.

    Raises:
        RalsegError: as `mutual_information_map`, and if the shapes differ.
    """
    _check_pair(logits, noisy)
    xp, p = namespace(logits), Softmax(logits)
    probabilities, logarithms = p.probabilities, p.log_probabilities

    def divergence(q: Softmax) -> tuple[Array]:
        return (xp.sum((probabilities - q.probabilities) * (logarithms - q.log_probabilities), axis=CLASS_AXIS),)

    (mean,) = _means(noisy, divergence)
    return xp.clip(mean / 2, 0, None)


def edald_map(logits: Array, noisy: Array) -> Array:
    """Entropy and disagreement, eDALD (two-stage method of NeurIPS 2025, equation 8): H(p) + mutual information.

    Args:
        logits: (..., C, h, w) of p, the prediction.
        noisy: (M, ..., C, h, w) of the draws whose mutual information is added.

    Returns:
        (..., h, w) float32 nats, 0 or more.

    Raises:
        RalsegError: as `mutual_information_map`, and if the shapes differ.
    """
    _check_pair(logits, noisy)
    return entropy_map(logits) + mutual_information_map(noisy)


def edald_as_released_map(logits: Array, noisy: Array) -> Array:
    """`edald_map` as in its released code, which takes probabilities for logarithms and exponentiates them again.

    The second term is f(mean_m exp p_m) - mean_m f(exp p_m) with f(q) = -sum q ln q, not the mutual information.
    Arguments, result and errors are those of `edald_map`.
    """
    _check_pair(logits, noisy)
    xp = namespace(noisy)

    def exponentiated(draw: Softmax) -> tuple[Array, Array]:
        # The logarithm of exp p is p itself.
        exponentials = xp.exp(draw.probabilities)
        return exponentials, (exponentials * draw.probabilities).sum(axis=CLASS_AXIS)

    mean, minus_f = _means(noisy, exponentiated)
    return entropy_map(logits) + xp.clip(minus_f - (mean * xp.log(mean)).sum(axis=CLASS_AXIS), 0, None)


def released_entropy_map(logits: Array) -> Array:
    """Entropy as in the released code of "Best Practices" (Mittal et al., GCPR 2023): stretched within each image.

    Stretched values can be compared within an image, but not between images.

    Args:
        logits: (..., C, h, w).

    Returns:
        (..., h, w) float32: 0 where the image's entropy is least, 1 where it is greatest; 0 throughout where it is the
        same everywhere (to 1e-6 nats, the rounding of the entropy).

    Raises:
        RalsegError: as `entropy_map`.
    """
    xp, entropy = namespace(logits), entropy_map(logits)
    low, high = (extreme(entropy, axis=(-2, -1), keepdims=True) for extreme in (xp.amin, xp.amax))
    span = high - low
    return (entropy - low) * (span > 1e-6) / xp.where(span > 1e-6, span, 1)


def _check(noisy: Array) -> None:
    if len(noisy.shape) < 4 or len(noisy) == 0:
        shape = tuple(noisy.shape)
        raise RalsegError(f"noisy predictions: logits have shape {shape}; give (M, ..., C, h, w) of 1 draw or more")


def _check_pair(logits: Array, noisy: Array) -> None:
    _check(noisy)
    if tuple(noisy.shape[1:]) != tuple(logits.shape):
        shapes = tuple(noisy.shape), tuple(logits.shape)
        raise RalsegError(
            f"noisy predictions: draws {shapes[0]} are none of logits {shapes[1]}; give (M, *logits.shape)"
        )


def _probabilities(draw: Softmax) -> tuple[Array, Array]:
    """(..., C, h, w) float64: the probability of each class, and that of all others, exact also where it is small."""
    xp, best = namespace(draw.one_hot), draw.one_hot
    p = xp.exp(cast(draw.log_probabilities, "float64"))
    others = xp.sum(p * (1 - best), axis=CLASS_AXIS)
    rest = xp.where(best > 0, others[..., None, :, :], 1 - p)
    return xp.clip(p, LEAST_PROBABILITY, None), xp.clip(rest, LEAST_PROBABILITY, None)


def _means(noisy: Array, of: Callable[[Softmax], Sequence[Array]]) -> list[Array]:
    """The means of `of` over the draws, taken one draw at a time, so that memory is needed for a single one."""
    _check(noisy)
    sums = of(Softmax(noisy[0]))
    for draw in noisy[1:]:
        sums = [total + part for total, part in zip(sums, of(Softmax(draw)), strict=True)]
    return [total / len(noisy) for total in sums]


def _entropy(probabilities: Array) -> Array:
    """(..., C, h, w) -> (..., h, w) nats in [0, ln C]."""
    xp = namespace(probabilities)
    # p log p tends to 0 with p: the floor only keeps the logarithm finite.
    entropy = -(probabilities * xp.log(xp.clip(probabilities, TINY, None))).sum(axis=CLASS_AXIS)
    return xp.clip(entropy, 0, float(np.float32(math.log(probabilities.shape[CLASS_AXIS]))))


def _beta_entropy(a: Array, b: Array) -> Array:
    """Differential entropy of Beta(a, b), nats, for float64 a and b of 1e-112 to 1e112.

    With H(x) the entropy of Gamma(x, 1) and psi the digamma function it is H(a) + H(b) - H(a + b) - psi(a + b): unlike
    in the textbook's formula no term grows faster than a logarithm, so that no digits are lost.
    """
    (of_a, _), (of_b, _), (of_sum, digamma) = _gamma_entropy(a), _gamma_entropy(b), _gamma_entropy(a + b)
    return of_a + of_b - of_sum - digamma


def _gamma_entropy(x: Array) -> tuple[Array, Array]:
    """H(x) = x + ln Gamma(x) + (1 - x) psi(x) and psi(x), from Stirling's series at y = x + 4."""
    log = namespace(x).log
    y, pair = x + 4, x * (x + 3)
    r = 1 / y
    r2 = r * r
    # 1 / x + 1 / (x + 1) + 1 / (x + 2) + 1 / (x + 3), and x (x + 1) (x + 2) (x + 3) / y^4
    steps = (2 * x + 3) * (1 / pair + 1 / (pair + 2))
    ratio = (pair * r2) * ((pair + 2) * r2)
    even = r2 * (1 / 12 - r2 * (1 / 120 - r2 / 252))
    odd = r * (1 / 3 + r2 * (1 / 90 - r2 / 210))
    half = log(y) / 2
    constant = math.log(2 * math.pi * math.e) / 2 - 4
    entropy = half + constant - odd - 2 * r - 5 * even - log(ratio) + (x - 1) * steps
    return entropy, 2 * half - r / 2 - even - steps
