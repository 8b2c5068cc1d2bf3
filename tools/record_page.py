"""Records the pictures label_page.gif and .png of the docs: the page in a real browser, on drawn streets.

uv run tools/record_page.py
"""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ralseg.annotation import commands
from ralseg.annotation.automatic import answer
from ralseg.annotation.page import PageServer
from ralseg.annotation.project import Project
from ralseg.annotation.rounds import Round, rounds
from ralseg.segmentation.datasets import Streets

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"
KEYS = 10
"""classes that have a digit as their key: 1 to 9, then 0"""
REGIONS, CLICKS = 2, 5
"""regions that are labelled, and superpixels that are corrected in each at most"""


def main() -> None:
    """Label one large round by the truth, train, and correct the predictions of the next one on the page."""
    streets = Streets(images=commands.DEMO_IMAGES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "streets"
        with contextlib.redirect_stdout(io.StringIO()):
            commands.init(folder, [], None, True, ["per_round=96"])
            commands.export(folder, "png", folder / "out")
            answer(streets, folder / "out")
            commands.import_(folder, "png", folder / "out", skip_rest=True)
            commands.train_(folder)
            commands.query(folder)
        project = Project(folder)
        asked = rounds(project)[-1]
        with PageServer(asked.query, project.image, asked.work, port=0, token=project.token, title="streets") as server:
            frames = recorded(server.url, asked, streets)
    (OUT / "label_page.png").write_bytes(frames[0][0])
    pictures = [Image.open(io.BytesIO(png)).convert("RGB").resize((900, 506)) for png, _ in frames]
    pictures = [picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE) for picture in pictures]
    pictures[0].save(
        OUT / "label_page.gif", save_all=True, append_images=pictures[1:], duration=[ms for _, ms in frames], loop=0
    )


def recorded(url: str, asked: Round, streets: Streets) -> list[tuple[bytes, int]]:
    """(PNG, milliseconds that it is shown) of each step."""
    frames: list[tuple[bytes, int]] = []
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 675})

        def frame(ms: int) -> None:
            page.wait_for_selector("#saved[data-state=saved]")
            page.wait_for_timeout(150)
            frames.append((page.screenshot(), ms))

        page.goto(url)
        for region in range(REGIONS):
            page.wait_for_selector(f"body[data-unit='{region}'] #stage[aria-busy=false]")
            frame(1800)
            for _ in range(CLICKS):
                if not correct(page, asked, region, streets):
                    break
                frame(600)
            page.keyboard.down("h")
            frame(900)
            page.keyboard.up("h")
            frame(900)
            page.keyboard.press("Enter")
        page.wait_for_selector(f"body[data-unit='{REGIONS}'] #stage[aria-busy=false]")
        frame(1500)
        browser.close()
    return frames


def correct(page: Page, asked: Round, region: int, streets: Streets) -> bool:
    """Give the superpixel in the middle of the largest mistake its true class; False if no mistake is worth a click."""
    name, top, left, height, width = asked.query.units[region]
    true = streets.load(name)[1][top : top + height, left : left + width]
    label = asked.work.label(region)
    shown = asked.query.prelabels[region] if label is None else label
    wrong = (shown != true) & (true < KEYS)
    depth = cv2.distanceTransform(wrong.astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    if depth[y, x] < 2:
        return False
    page.keyboard.press("s")
    page.keyboard.press(str((true[y, x] + 1) % KEYS))
    scale, right, down = map(float, str(page.get_attribute("#stage canvas", "data-view")).split())
    box = page.locator("#stage canvas").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + right + (x + 0.5) * scale, box["y"] + down + (y + 0.5) * scale)
    return True


if __name__ == "__main__":
    main()
