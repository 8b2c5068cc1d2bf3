"""The report, as markup and in a real browser: synthetic results of several budgets, sets and training seeds."""

import base64
import copy
import html
import re
import shutil

import numpy as np
import pytest

from ralseg.evaluation.cells import Cell
from ralseg.evaluation.gallery import write_maps
from ralseg.evaluation.page import page
from ralseg.evaluation.page.charts import dots, lines, same_span, ticks
from ralseg.evaluation.page.looks import looks_of
from ralseg.evaluation.page.words import Name, cautions, outcome, setting, typeset
from ralseg.evaluation.pictures import style_of
from ralseg.evaluation.results import ResultsStore, load_results, write_bought
from ralseg.evaluation.summary import summarise
from ralseg.evaluation.text import footnotes
from ralseg.foundation import RalsegError, write_json

EVIL = 'run:<b>"x"&y</b>'
CLASSES = ("road", "<i>sky</i>", 'a"b')
GAIN = {"random": 0.0, "margin": 1.0, "class_truth": 4.0, EVIL: 2.5}
BUDGETS = (24, 48, 96)


class Scenes:
    """A data set of noise, its classes named to break a page."""

    name, title, classes = "scenes", "my scenes", CLASSES
    colors = np.array([[128, 64, 128], [70, 130, 180], [200, 40, 0]], np.uint8)
    groups = {"one": "clip<1>", "two": "clip 2"}

    def load(self, name):
        """Bands of classes, void below."""
        rng = np.random.default_rng(len(name))
        label = np.repeat(np.arange(3, dtype=np.uint8), 20)[:, None].repeat(80, 1)
        label[55:] = 255
        return rng.integers(0, 255, (60, 80, 3), np.uint8), label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A comparison: four policies, three budgets, both sets, one of the policies trained twice."""
    folder, rng, rows = tmp_path_factory.mktemp("page"), np.random.default_rng(0), []
    seeds = {name: (0, 1) if name == EVIL else (None,) for name in GAIN}
    for name, own in seeds.items():
        for number, (seed, draw) in enumerate((seed, draw) for seed in own for draw in range(6)):
            run = f"p{list(GAIN).index(name)}-{number}"
            for budget in BUDGETS:
                for split, base in (("dev", 40), ("test", 30)):
                    miou = base + GAIN[name] * budget / 96 + budget / 20 + rng.normal(0, 0.3)
                    row = {
                        "run_id": run, "policy": name, "training_seed": seed, "seed": draw, "game": "partial",
                        "loss": "plain", "split": split, "budget_units": budget, "units": budget, "images": 2,
                        "pixels": budget * 300, "share": budget / 960, "clicks": 2 * budget, "miou": round(miou, 4),
                        "label_cost_of_policy": 0 if seed is None else 500, "class_entropy": 1.0,
                        "commit": "c0ffee" * 6, "seconds_choosing": 0.5,
                    }  # fmt: skip
                    rows.append(row | {f"iou_{c}": miou / 100 + 0.1 * (1 - i) for i, c in enumerate(CLASSES)})
            units = [["one", 0, 0, 15, 20], ["one", 15, 20, 15, 20]] if draw % 2 == 0 else []
            bought = {"policy": name, "training_seed": seed, "seed": draw, "units": units, "counts": list(BUDGETS)}
            write_bought(folder, run, bought | {"class_pixels": [[9 * b, 3 * b, b] for b in BUDGETS]})
            if draw == 0 and name != "margin":
                wrong = np.zeros((60, 80), np.uint8)
                write_maps(folder, run, dict.fromkeys(Scenes.groups, (wrong, wrong)))
    ResultsStore(folder, CLASSES).put(rows)
    write_json(folder / "comparison.json", {
        "classes": CLASSES, "policies": list(GAIN), "references": ["class_truth"], "splits": ["dev", "test"],
        "budgets": BUDGETS, "run_ids": sorted({row["run_id"] for row in rows}), "notes": ["<script>alert(1)</script>"],
        "pool": {"units": 960, "class_pixels": [900, 90, 10]}, "gallery": list(Scenes.groups), "command": "a & b",
        "config": {
            "game": {"unit": "region", "slates": 24, "candidates": 20, "draw": "clustered", "budget_measure": "units",
                     "learn": {"cut": "partial"}},
            "loss": "plain", "seed": 0, "input_scale": 0.5, "network": {"_target_": "a.b.SmallFPN"},
        },
    })  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def report(folder):
    """(results, summary, address of the page)."""
    results = load_results(folder)
    summary = summarise(results)
    (folder / "report.html").write_text(page(results, summary, Scenes()))
    return results, summary, folder / "report.html"


def entry(summary, policy, split, budget=96):
    (found,) = [e for e in summary["entries"] if (e["policy"], e["split"], e["budget"]) == (policy, split, budget)]
    return found


def test_ticks_are_round_and_spans_are_equal():
    assert ticks(31.2, 34.1).tolist() == [31.5, 32, 32.5, 33, 33.5, 34]
    np.testing.assert_allclose(ticks(-0.31, 0.52), [-0.2, 0, 0.2, 0.4])
    assert same_span([(0, 1), (10, 14)]) == [(-1.5, 2.5), (10, 14)]


def test_a_dot_stands_where_its_value_is():
    look = looks_of(["random"], [], [])["random"]
    drawn = dots("x", "t", {look: Cell(2.0, 1.0, 3.0)}, (0.0, 4.0), "mIoU")
    (series,) = drawn.series
    at = {label.text: label.x for label in drawn.ticks}
    assert series.marks[0].x == pytest.approx((at["0"] + at["4"]) / 2)
    (line,) = series.lines
    assert (line.x2 - line.x1) / (at["4"] - at["0"]) == pytest.approx(0.5) and line.y1 == series.marks[0].y


def test_a_curve_and_its_band_go_through_the_values():
    look = looks_of(["random"], [], [])["random"]
    points = [(0, Cell(1.0, 0.5, 1.5)), (100, Cell(2.0, 1.0, 3.0)), (200, Cell(4.0, 4.0, 4.0))]
    drawn = lines("x", "t", {look: points}, (0.0, 4.0), "mIoU", "units", (2.0, "level"))
    at = {label.text: label.y - 4 for label in drawn.ticks if label.anchor == "end"}
    band, curve = (
        np.array([pair.split(",") for pair in path.rstrip("Z")[1:].split("L")], float)
        for path in (drawn.series[0].band, drawn.series[0].curve)
    )
    assert at["0"] > at["4"] and curve[0, 0] < curve[2, 0]
    for path, values in ((curve, [1, 2, 4]), (band, [1.5, 3, 4, 4, 1, 0.5])):
        np.testing.assert_allclose(4 * (at["0"] - path[:, 1]) / (at["0"] - at["4"]), values, atol=0.01)
    np.testing.assert_allclose(curve[1, 0], curve[[0, 2], 0].mean(), atol=0.1)
    assert drawn.level.y1 == pytest.approx((at["0"] + at["4"]) / 2)
    assert [mark.title for mark in drawn.series[0].marks][1] == "random at 100: 2.00 [1.00, 3.00]"


def test_looks_of_many_policies_differ_and_references_are_dashed():
    names = ["random", *map(str, range(30))]
    styles = style_of(names, ["3"])
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == len(names)
    assert [name for name, look in looks_of(names, ["3"], []).items() if "dashed" in look.line_class] == ["3"]


def said(summary):
    return ["".join(sentence).replace("\N{NO-BREAK SPACE}", " ") for sentence in outcome(summary)]


def test_the_words_say_what_the_summary_says(report):
    results, summary, path = report
    sentences = said(summary)
    learned = entry(summary, EVIL, "two_set_mean")
    assert sentences[0].startswith(f"Of 3 contenders {EVIL} has the highest mIoU on the mean of dev and test: ")
    assert f"{learned['miou']:.2f} %" in sentences[0]
    figures = [learned["difference"][base] for base in ("random", "margin")]
    wanted = ("above random choice (", "above margin, the best heuristic (")
    for found, words in zip(figures, wanted, strict=True):
        assert f"{words}{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}])" in sentences[1]
    assert f"won {100 * learned['share_of_reference']['share']['mean']:.0f} % [" in sentences[2]
    assert "which sees true labels" in sentences[2] and len(sentences) == 4
    (saved,) = [own for own in summary["labels_saved"] if (own["policy"], own["split"]) == (EVIL, "two_set_mean")]
    figure = f"has at the largest budget: {100 * saved['saved']:+.0f} % ["
    assert sentences[3].startswith(f"Labels saved by {EVIL} in reaching what margin {figure}")
    assert any("neither contenders nor bounds" in line for line in cautions(summary))
    # Two training seeds: nothing is said of one.
    assert not any("one seed" in line for line in cautions(summary))
    lead = setting(summary, results.comparison, "my scenes").replace("\N{NO-BREAK SPACE}", " ")
    assert lead.startswith(
        "4 policies chose which regions of my scenes to have labelled: 96 of 960 (10.0 % of the pixels)."
    )
    assert lead.endswith("6 draws that all policies share and 2 training seeds of the learned ones, and was "
                         "scored on dev and test, images that nobody could buy.")  # fmt: skip
    text = path.read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert lead in text and f"<li>Of 3 contenders {Name(EVIL).__html__()} has the highest" in text
    assert text.count("4 policies on my scenes") == 2 and "<dd>my scenes; 960" in text


def test_policies_that_are_tied_are_said_to_be(report):
    summary = copy.deepcopy(report[1])
    for own in summary["entries"]:
        own["miou"] = 34.5
    tied = "All alike: the 3 contenders have exactly the same mIoU on the mean of dev and test, 34.50 %."
    assert said(summary) == [tied] == footnotes(summary)[:1]
    entry(summary, "random", "two_set_mean")["miou"] = 30.0
    assert said(summary)[0].startswith(f"Of 3 contenders margin and {EVIL} have the highest mIoU on the mean")


def test_a_network_that_predicts_one_class_is_told(report):
    summary = copy.deepcopy(report[1])
    here = [own for own in summary["entries"] if (own["budget"], own["split"]) == (BUDGETS[-1], "two_set_mean")]
    assert not any("one class" in line for line in [*said(summary), *footnotes(summary)])
    next(own for own in here if own["policy"] == "margin")["iou"] = dict(zip(CLASSES, (30.0, 0.0, None), strict=True))
    line = f"The network predicts one class everywhere after what margin bought: only {CLASSES[0]} has an IoU above 0."
    assert said(summary)[1].startswith(line) and footnotes(summary)[0].startswith(line)
    for own in here:
        own["iou"], own["miou"] = dict(zip(CLASSES, (30.0, 0.0, None), strict=True)), 15.0
    tied, single = said(summary)
    assert tied.startswith("All alike: the 3 contenders have exactly the same mIoU")
    assert single.startswith(f"The network predicts one class everywhere: only {CLASSES[0]} has an IoU above 0.")


def test_policies_of_one_training_seed_are_named(report):
    summary = copy.deepcopy(report[1])
    for own in summary["entries"]:
        own["training_seeds"] = 1
    assert any(line.startswith(f"Trained with one seed alone: {EVIL}.") for line in cautions(summary))


def test_figures_show_the_intervals_of_their_split_and_budget(report):
    _, summary, path = report
    text = path.read_text()
    for split in ("dev", "test", "two_set_mean"):
        for kind, of in (("miou", None), ("random", "random"), ("best", "margin")):
            chart = html.unescape(text.split(f'id="{kind}-0-{split}"')[1].split("</svg>")[0])
            for policy, budget in ((policy, budget) for policy in GAIN for budget in BUDGETS):
                own = entry(summary, policy, split, budget)
                found = own["difference"].get(of) if of else own["interval"]
                mark = f"<title>{policy}{' (sees truth)' * own['reference']} at {budget}: "
                if found is None:
                    assert mark not in chart
                else:
                    assert f"{mark}{typeset(Cell(found['mean'], found['low'], found['high']))}</title>" in chart
    assert "60 rows of results.csv</a> (game partial, budget 96)." in text
    assert "180 rows of results.csv</a> (game partial)." in text


def test_the_page_carries_the_rows_and_leads_nowhere_else(report):
    results, _, path = report
    text = path.read_text()
    carried = re.search('href="data:text/csv;base64,([^"]*)" download="results.csv"', text)
    assert base64.b64decode(carried[1]) == (results.folder / "results.csv").read_bytes()
    addresses = re.findall(r'(?:href|src)="([^"]*)"', text)
    local = {"results.csv", "comparison.json", "summary.json", "summary.md"}
    assert {a for a in addresses if not a.startswith(("#", "data:"))} == local
    assert not re.search(r"url\(|@import|https?:", text) and len(text) < 3e6
    places = set(re.findall(r' id="([^"]*)"', text))
    assert {a[1:] for a in addresses if a.startswith("#")} <= places


def test_what_is_not_there_is_left_out_and_said(report, tmp_path):
    results, summary, path = report
    assert "Played before predictions were kept, and so shown without: margin." in path.read_text()
    for name in ("results.csv", "comparison.json"):
        shutil.copy(results.folder / name, tmp_path)
    text = page(load_results(tmp_path), summary, Scenes())
    assert "neither class shares nor outlines can be drawn" in text and "This comparison kept no gallery" in text
    assert 'id="shares"' not in text and 'class="scene"' not in text


def test_a_gallery_of_another_image_is_refused(report, tmp_path):
    results, summary, _ = report
    shutil.copytree(results.folder, tmp_path / "other")
    write_maps(tmp_path / "other", "p0-0", {"one": (np.zeros((5, 5), np.uint8),) * 2})
    with pytest.raises(RalsegError, match="the gallery of p0-0 is not of one"):
        page(load_results(tmp_path / "other"), summary, Scenes())


@pytest.fixture
def opened(browser, report):
    """Opens the page; whatever it asks for or complains about fails the test."""
    contexts, trouble = [], []

    def open_page(width=1280, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        # A busy machine may take its time.
        contexts[-1].set_default_timeout(120_000)
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: trouble.append(f"console: {message.text}"))
        shown.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        shown.on("request", lambda r: r.url.startswith(("file:", "data:")) or trouble.append(f"request: {r.url}"))
        shown.goto(report[2].as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble


def test_figures_tables_and_pictures_are_there(opened):
    shown = opened()
    assert shown.locator("script").count() == 1 and EVIL in shown.locator("#scores table").first.inner_text()
    # Scores, against random, against the best heuristic: a panel for each set; and the shares of the classes.
    assert shown.locator("svg.chart").count() == 3 * 3 + 1
    assert shown.evaluate("""() => [...document.querySelectorAll("svg.chart")].every(chart =>
        chart.querySelector("title").textContent && chart.querySelector("desc").textContent.length > 40)""")
    assert shown.evaluate("""() => { const ids = [...document.querySelectorAll("[id]")].map(part => part.id);
        return new Set(ids).size === ids.length }""")
    assert shown.evaluate("() => [...document.querySelectorAll('th')].every(cell => cell.scope)")
    assert shown.evaluate("() => [...document.images].every(image => image.alt && image.naturalWidth > 0)")
    # Two images: truth and before, and after for the three policies that kept it.
    assert shown.locator("#gallery img").count() == 2 * (2 + 3)
    assert shown.locator("#gallery .photo").count() == 2 * (1 + 4)
    # One band of three is right, and the last five of its sixty lines are void.
    assert "before, at theta_0, 36 % of the pixels right" in shown.locator("#gallery").inner_text()
    box = shown.locator("#gallery .photo").first.bounding_box()
    assert box["width"] > 100 and box["height"] == pytest.approx(box["width"] * 60 / 80, rel=0.02)


def test_numbers_of_the_tables_are_those_of_the_summary(opened, report):
    summary = report[1]
    shown = opened()
    table = shown.locator("#scores table").first
    head = [cell.replace("\n", " ") for cell in table.locator("thead th").all_inner_texts()]
    for policy in GAIN:
        row = table.locator("tbody tr").filter(has=shown.get_by_role("rowheader", name=policy, exact=True))
        cells = dict(zip(head, row.locator("th, td").all_inner_texts(), strict=True))
        cells = {key: " ".join(text.replace("\N{MINUS SIGN}", "-").split()) for key, text in cells.items()}
        for split, column in (("dev", "mIoU, dev"), ("test", "mIoU, test"), ("two_set_mean", "mIoU, mean")):
            own = entry(summary, policy, split)
            assert cells[column] == f"{own['miou']:.2f} [{own['interval']['low']:.2f}, {own['interval']['high']:.2f}]"
        assert cells["rank"] == ("\N{EN DASH}" if own["rank"] is None else f"{own['rank']:.1f}")
        for base, column in (("random", "less random"), ("margin", "less margin, the best heuristic")):
            found = own["difference"].get(base)
            wanted = f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]" if found else "\N{EN DASH}"
            assert cells[column].endswith(wanted)
    # The highest first, and who sees the truth behind those who do not.
    assert [name.strip() for name in table.locator("tbody tr[class] th").all_inner_texts()] == [
        EVIL, "margin", "random", "class_truth"
    ]  # fmt: skip
    matrix = shown.locator("#scores table.matrix:visible tbody tr")
    (penalty,) = [p for p in summary["penalty"] if p["split"] == "two_set_mean"]
    for i, shares in enumerate(penalty["matrix"]):
        texts = matrix.nth(i).locator("td").all_inner_texts()
        assert [text and float(text) for text in texts] == [
            "" if i == j else pytest.approx(share, abs=0.005) for j, share in enumerate(shares)
        ]


@pytest.mark.parametrize("scripts", [True, False])
def test_policies_can_be_hidden_and_splits_chosen(opened, scripts):
    shown = opened(java_script_enabled=scripts)
    margin = shown.locator(".p1:not(.swatch)")
    visible = margin.filter(visible=True).count()
    assert visible > 10
    shown.locator("label", has=shown.locator("#show-p1")).click()
    assert margin.filter(visible=True).count() == 0
    shown.locator("label", has=shown.locator("#show-p1")).click()
    assert margin.filter(visible=True).count() == visible
    for split in ("dev", "two_set_mean"):
        shown.locator("label", has=shown.locator(f"#split-{split}")).click()
        seen = shown.locator(".of-split").filter(visible=True)
        assert (
            seen.count() == shown.locator(f".of-{split}").count() == shown.locator(f".of-{split}:visible").count() > 2
        )


def test_rows_can_be_filtered_and_figures_lead_to_theirs(opened):
    shown = opened()
    rows = shown.locator("#row-table tbody tr")
    assert rows.count() == rows.filter(visible=True).count() == 30 * 3 * 2
    shown.locator("#filter").fill("margin split=dev seed=0")
    assert rows.filter(visible=True).count() == 3
    shown.locator("#scores a", has_text="rows of results.csv").first.click()
    assert shown.locator("#filter").input_value() == "game=partial budget_units=96"
    assert rows.filter(visible=True).count() == 30 * 2


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_follows_the_scheme(opened, width, scheme):
    shown = opened(width, color_scheme=scheme)
    shown.evaluate("() => document.querySelectorAll('details').forEach(part => part.open = true)")
    assert shown.evaluate("() => document.documentElement.scrollWidth") <= width
    paper, ink = (
        sum(map(float, re.findall(r"[\d.]+", shown.evaluate(f"() => getComputedStyle(document.body).{key}"))[:3]))
        for key in ("backgroundColor", "color")
    )
    assert (paper > ink) == (scheme == "light")
    # A wide table scrolls within itself, and the keyboard reaches it.
    table = shown.locator("#scores .scroll").first
    assert table.get_attribute("tabindex") == "0"
    assert table.evaluate("part => part.scrollWidth > part.clientWidth") == (width == 360)
