"""The report of a comparison: summary, tables, the page, pictures and TensorBoard files, from its results."""

import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from ralseg.evaluation.neighbourhoods import of_pixels
from ralseg.evaluation.page import page
from ralseg.evaluation.pictures import bought_pixels, bought_regions, bought_shares, class_shares, curves
from ralseg.evaluation.pool_map import map_picture, pool_map
from ralseg.evaluation.results import Results, file_name
from ralseg.evaluation.summary import summarise
from ralseg.evaluation.text import markdown
from ralseg.foundation import atomic_write, write_json
from ralseg.segmentation.datasets import Dataset


def write_report(results: Results, dataset: Dataset) -> dict[str, Any]:
    """Write `report.html`, `summary.json`, `summary.md`, the pictures (`curves.png`, `curves_fit.png` after training to
    convergence, `class_shares.png`, `bought.png`, `pool_map.png`) and `tensorboard/` into the folder of a comparison,
    replacing older ones. Without `bought/`, which committed results lack, there are no pictures of what was bought;
    without the embedding of a pool of images (see `write_embedding`) there is no map and nothing on mode collapse.

    Args:
        results: of the comparison; every figure is made from them.
        dataset: the data set of the comparison, for its images.

    Returns:
        The summary; see `summarise`.
    """
    summary = summarise(results)
    write_json(results.folder / "summary.json", summary)
    with atomic_write(results.folder / "summary.md", "w") as file:
        file.write(markdown(summary))
    with atomic_write(results.folder / "report.html", "w") as file:
        file.write(page(results, summary, dataset))
    games = list(dict.fromkeys(entry["game"] for entry in summary["entries"]))
    figures = {f"curves{'_fit' * game.endswith('+fit')}": curves(summary, game) for game in games}
    if bought_shares(results):
        bought = (bought_pixels if of_pixels(results.comparison) else bought_regions)(results, dataset)
        figures |= {"class_shares": class_shares(results), "bought": bought}
    if (drawn := pool_map(results)) is not None:
        figures["pool_map"] = map_picture(drawn, results.comparison["budgets"])
    for name, figure in figures.items():
        with atomic_write(results.folder / f"{name}.png") as file:
            figure.savefig(file, format="png")
    _write_tensorboard(results, summary, figures)
    return summary


def _write_tensorboard(results: Results, summary: Mapping[str, Any], figures: Mapping[str, Figure]) -> None:
    """One run per policy, so that curves share a chart; the x axis is units labelled."""
    folder = results.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    for policy in dict.fromkeys(entry["policy"] for entry in summary["entries"]):
        with SummaryWriter(str(folder / file_name(policy))) as writer:
            for entry in (entry for entry in summary["entries"] if entry["policy"] == policy):
                where = f"{entry['game'].replace('+', '_')}/{entry['split']}"
                units = round(entry["units"])
                writer.add_scalar(f"miou/{where}", entry["miou"], units)
                writer.add_scalar(f"class_entropy/{entry['game'].replace('+', '_')}", entry["class_entropy"], units)
                for name, iou in entry["iou"].items():
                    if iou is not None:
                        writer.add_scalar(f"iou_{name}/{where}".replace(" ", "_"), iou, units)
    with SummaryWriter(str(folder / "pictures")) as writer:
        for name, figure in figures.items():
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            writer.add_image(name, np.asarray(canvas.buffer_rgba())[..., :3], 0, dataformats="HWC")
