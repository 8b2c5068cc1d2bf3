"""Region impurity (RIPU: Xie et al., CVPR 2022): how mixed the predicted classes are around a pixel or within a unit.

Windows are (2k + 1) x (2k + 1) pixels around each pixel. They are cut at the image's border, and a mean is over the
pixels that remain. For numpy arrays running sums are used, whose cost does not depend on k, and for torch tensors
average pooling along each side, which takes 2k + 1 additions per pixel and side.
"""

from typing import Any, Literal

import numpy as np

from ralseg.features.arrays import Array, cast, check_finite, constant, namespace, on_host
from ralseg.features.softmax_maps import Softmax
from ralseg.foundation import RalsegError, checked

Mode = Literal["ra", "pa"]


def impurity_map(class_map: Array, classes: int, k: int) -> Array:
    """Entropy of the predicted classes in the window around each pixel, over its greatest value ln C.

    Args:
        class_map: (..., h, w) uint8 ids below `classes`, numpy array or torch tensor.
        classes: number of classes C, 1 to 255; with a single class the impurity is 0.
        k: radius of the window, pixels, 0 or more.

    Returns:
        (..., h, w) float32 in [0, 1], of the same kind and on the same device.

    Raises:
        RalsegError: on a map of another type or no size, a radius or number of classes out of range, or (on the host)
            an id that is not below `classes`. On a device such a pixel counts for no class.
    """
    xp = namespace(class_map)
    if class_map.dtype != xp.uint8 or not 1 <= classes <= 255:
        raise RalsegError(
            f"impurity: a class map of {class_map.dtype} with {classes} classes; give uint8 ids and 1 to 255"
        )
    if on_host(class_map) and 0 not in class_map.shape and class_map.max() >= classes:
        raise RalsegError(f"impurity: the class map holds id {int(class_map.max())} with {classes} classes")
    # Class by class, so that memory does not grow with their number.
    total: Any = sum(_x_log_x(window_mean(class_map == c, k)) for c in range(classes))
    return _of_greatest(-total, classes)


def window_mean(maps: Array, k: int) -> Array:
    """The mean of each map over the window around each pixel, which is cut at the border.

    Args:
        maps: (..., h, w) real or bool, finite, numpy array or torch tensor.
        k: radius of the window, pixels, 0 or more.

    Returns:
        (..., h, w) float32, of the same kind and on the same device.

    Raises:
        RalsegError: if the maps have no two spatial dimensions or are empty, the radius is no whole number of 0 or
            more, or (on the host) the maps hold NaN or infinities.
    """
    if len(maps.shape) < 2 or 0 in maps.shape:
        raise RalsegError(f"window mean: maps have shape {tuple(maps.shape)}; give (..., h, w)")
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 0:
        raise RalsegError(f"window mean: the radius k={k!r} must be a whole number of 0 or more")
    check_finite(maps, "window mean: a map holds NaN or infinities; mend the prediction it came from")
    h, w = maps.shape[-2:]
    planes = maps.reshape(-1, h, w)
    # A window that reaches beyond the image on all sides grows no further.
    reach = min(k, h - 1), min(k, w - 1)
    means = _by_running_sums(planes, *reach) if isinstance(planes, np.ndarray) else _by_pooling(planes, *reach)
    return means.reshape(maps.shape)


def ripu_map(logits: Array, k: int, mode: Mode = "ra") -> Array:
    """RIPU's score: region impurity times prediction uncertainty, which is the entropy over its greatest value ln C.

    Args:
        logits: (..., C, h, w), finite.
        k: radius of the window, pixels: 1 for regions (RA), 32 for pixels (PA) in the paper.
        mode: `ra` takes the window's mean entropy, `pa` that of the centre pixel.

    Returns:
        (..., h, w) float32 in [0, 1].

    Raises:
        RalsegError: as `entropy_map` and `window_mean`, and for an unknown mode.
    """
    softmax = Softmax(logits)
    uncertainty = softmax.entropy if checked(Mode, mode, "mode") == "pa" else window_mean(softmax.entropy, k)
    return impurity_map(softmax.class_map, softmax.classes, k) * _of_greatest(uncertainty, softmax.classes)


def unit_impurity(shares: Array) -> Array:
    """The impurity of units that are regions themselves: the entropy of their predicted class shares over ln C.

    Args:
        shares: (..., units, C) that sum to 1 over C, numpy array or torch tensor; see `predicted_shares`.

    Returns:
        (..., units) float32 in [0, 1].

    Raises:
        RalsegError: if there is no class, or (on the host) a share is negative or not finite.
    """
    shares = cast(shares, "float32")
    if len(shares.shape) < 1 or shares.shape[-1] == 0:
        raise RalsegError(f"impurity: shares have shape {tuple(shares.shape)}; give (..., units, C)")
    if on_host(shares) and not ((shares >= 0) & (shares < np.inf)).all():
        raise RalsegError("impurity: class shares must be 0 or more and finite; mend the prediction they came from")
    return _of_greatest(-namespace(shares).sum(_x_log_x(shares), axis=-1), shares.shape[-1])


def _by_running_sums(planes: np.ndarray, y: int, x: int) -> np.ndarray:
    import cv2  # here, because all acquisitions import this module and few are computed this way

    # Bytes are summed as whole numbers, numbers in float64.
    planes = planes.view(np.uint8) if planes.dtype == bool else cast(planes, "float32")
    window = {"ksize": (2 * x + 1, 2 * y + 1), "normalize": False, "borderType": cv2.BORDER_CONSTANT}
    sums = np.stack([cv2.boxFilter(plane, cv2.CV_32F, **window) for plane in planes])
    return sums / constant(sums, _window_areas, *planes.shape[1:], y, x)


def _by_pooling(planes: Array, y: int, x: int) -> Array:
    pool, planes = namespace(planes).nn.functional.avg_pool2d, cast(planes, "float32")
    # Windows are rectangles at the border, too, so the mean of means along each side is their mean.
    planes = pool(planes, (2 * y + 1, 1), stride=1, padding=(y, 0), count_include_pad=False)
    return pool(planes, (1, 2 * x + 1), stride=1, padding=(0, x), count_include_pad=False)


def _window_areas(h: int, w: int, y: int, x: int) -> np.ndarray:
    """(h, w) float64: pixels of the window around each pixel that lie in the image."""
    sides = []
    for size, reach in ((h, y), (w, x)):
        place = np.arange(size)
        sides.append(np.minimum(place + reach + 1, size) - np.maximum(place - reach, 0))
    return np.outer(*sides).astype(np.float64)


def _x_log_x(shares: Array) -> Array:
    # x log x tends to 0 with x: the floor only keeps the logarithm finite.
    xp = namespace(shares)
    return shares * xp.log(xp.clip(shares, float(np.finfo(np.float32).tiny), None))


def _of_greatest(entropy: Array, classes: int) -> Array:
    """Entropy over ln C, in [0, 1]."""
    # The entropy of a single class is 0 whatever it is divided by.
    return namespace(entropy).clip(entropy / (float(np.log(classes)) or 1.0), 0, 1)
