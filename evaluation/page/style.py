"""The page's style sheet and its one script."""

from collections.abc import Iterable

from ralseg.evaluation.page.looks import Look
from ralseg.evaluation.page.markup import Markup

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfc; --card: #ffffff; --ink: #1d2126; --soft: #59626c; --rule: #e2e4e8; --grid: #eceef1;
  --accent: #0b5f9e; --up: #0b5f9e; --down: #a8480b; --heat-hue: #0072b2; --less-hue: #d55e00;
    --pale: rgb(253 253 252 / .72); --lift: 0%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --card: #1b1f23; --ink: #e7e9eb; --soft: #a2abb4; --rule: #31373d; --grid: #262b30;
    --accent: #79bdf2; --up: #79bdf2; --down: #f0a06a; --heat-hue: #3d9fd8; --less-hue: #e07b35;
    --pale: rgb(21 24 27 / .74); --lift: 24%;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 7.5rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
}
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 44px; }
h1 { font-size: clamp(1.55rem, 4.2vw, 2.15rem); line-height: 1.2; font-weight: 650; letter-spacing: -.015em;
  margin: 0 0 .5em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; font-weight: 650; letter-spacing: -.01em; margin: 0 0 .35em; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.8em 0 .5em; overflow-wrap: anywhere; }
h4 { font-size: .875rem; font-weight: 600; margin: 0 0 .4em; overflow-wrap: anywhere; }
p { margin: 0 0 .8em; max-width: 46em; overflow-wrap: break-word; }
small { font-size: .84em; color: var(--soft); font-weight: 400; }
a { color: var(--accent); text-underline-offset: .16em; }
.eyebrow { color: var(--soft); font-size: .875rem; margin: 0 0 .6em; }
.lead p { font-size: 1.08rem; line-height: 1.6; }
.found { margin: 1.2em 0 1.6em; padding: 0; list-style: none; border-left: 3px solid var(--accent); max-width: 49em; }
.found li { padding: .12em 0 .12em 1.1em; }
.found li:first-child { font-size: 1.08rem; }
.cautions { margin: 0 0 1em; padding: 0 0 0 1.15em; color: var(--soft); font-size: .9rem; max-width: 52em; }
main > section:first-child { border: 0; margin: 0; }
main > section { padding: 34px 0 6px; border-top: 1px solid var(--rule); margin-top: 34px; }
.about, .note, figcaption, .source { color: var(--soft); font-size: .9rem; }
.source { font-size: .82rem; margin-top: .7em; max-width: none; }
nav { font-size: .9rem; display: flex; flex-wrap: wrap; gap: .3em 1.1em; margin: 1em 0 0; }

.bar {
  position: sticky; top: 0; z-index: 2; background: var(--paper); border-block: 1px solid var(--rule);
  margin-top: 30px;
}
.bar form { max-width: 1120px; margin: 0 auto; padding: 7px 20px; max-height: 25vh; overflow-y: auto; }
.group { display: flex; padding: 2px 0; } .group > span { flex: none; width: 5em; font-size: .82rem;
  line-height: 1.9; color: var(--soft); }
.chips { display: flex; flex-wrap: wrap; gap: 5px 6px; }
.chip { position: relative; display: inline-flex; align-items: center; gap: .4em; padding: .16em .6em;
  border: 1px solid var(--rule); border-radius: 99px; font-size: .84rem; white-space: nowrap; cursor: pointer;
    background: var(--card); }
.chip input { position: absolute; opacity: 0; pointer-events: none; }
.chip:has(input:focus-visible) { outline: 2px solid var(--accent); outline-offset: 1px; }
.chip:has(input[type=checkbox]:not(:checked)) { opacity: .45; text-decoration: line-through; }
.chip:has(input[type=radio]:checked) { background: var(--ink); color: var(--paper); border-color: var(--ink); }

.swatch { flex: none; vertical-align: -2px; }
.who { display: flex; align-items: center; gap: .45em; }
.who span { overflow: hidden; text-overflow: ellipsis; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 18px 22px;
  margin: .6em 0 1em; }
.panels figure { margin: 0; max-width: 400px; }
figure.wide { margin: .6em 0 1em; max-width: 760px; min-width: 540px; }
.panels figcaption { color: var(--ink); font-weight: 600; font-size: .9rem; margin-bottom: .3em; }
.chart { display: block; width: 100%; height: auto; overflow: visible; font-size: 11.5px; fill: var(--ink); }
.chart .ticks text, .chart .label { fill: var(--soft); font-size: 11px; }
.chart .grid line { stroke: var(--grid); }
.chart .base { stroke: var(--rule); }
.chart .level line { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 1.5 2.5; }
.chart .pool line { stroke: var(--ink); stroke-width: 2; }
.chart .name.strong { font-weight: 650; }
.chart .name.aside { font-style: italic; fill: var(--soft); }
.curve { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.curve.strong { stroke-width: 2.8; }
.curve.dashed { stroke-dasharray: 5 4; stroke-linecap: butt; }
.band { fill: var(--c); opacity: .1; }
.mark { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
.mark.hollow { fill: var(--paper); stroke: var(--c); stroke-width: 1.6; }

.scroll { overflow-x: auto; margin: .8em 0 1em; border-radius: 4px; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; line-height: 1.35; }
caption { text-align: left; font-weight: 600; font-size: .9rem; padding: 0 0 .5em; }
td small { display: block; font-size: .8em; }
th, td { padding: .38em .8em .38em 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
thead th { vertical-align: bottom; white-space: normal; overflow-wrap: break-word; min-width: 5.2em; max-width: 9.5em;
  color: var(--soft); font-weight: 500; font-size: .84em; border-bottom: 1px solid var(--rule); }
th:first-child { text-align: left; font-weight: 500; position: sticky; left: 0; background: var(--paper); z-index: 1;
  max-width: 15em; overflow: hidden; text-overflow: ellipsis; }
thead th:first-child { min-width: 8em; }
th.aside { color: var(--soft); font-weight: 400; font-style: italic; padding-top: 1em; max-width: none;
  font-size: .92em; position: static; }
.above i, .below i, .open i { font-style: normal; font-size: .8em; }
.above, .above small { color: var(--up); } .below, .below small { color: var(--down); }
.open, .none { color: var(--soft); }
.matrix td, .classes td { text-align: center; padding: .4em .55em; border: 1px solid var(--paper);
  background: color-mix(in srgb, var(--heat-hue) var(--heat, 0%), var(--card)); }
.classes td.less { background: color-mix(in srgb, var(--less-hue) var(--heat, 0%), var(--card)); }
.matrix .self { background: repeating-linear-gradient(135deg, var(--grid) 0 1px, transparent 1px 5px); }
.matrix thead th, .classes thead th { text-align: center; min-width: 2.8em; padding: .3em .4em; }
.matrix thead th:first-child, .classes thead th:first-child, .classes tbody th { text-align: left; }
.matrix thead th { vertical-align: bottom; }
.turned { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 11em; overflow: hidden;
  text-overflow: ellipsis; margin: 0 auto; }
.classes th small { display: block; }
.classes th.rare { font-style: italic; color: var(--ink); }
tfoot th, tfoot td { border-top: 1px solid var(--rule); }

.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .25em 1em; padding: 0; margin: .8em 0;
  font-size: .84rem; }
.legend i { display: inline-block; width: .95em; height: .95em; border-radius: 2px; margin-right: .4em;
  vertical-align: -.1em; border: 1px solid var(--rule); }
.scene { padding-bottom: 1em; }
.truth, .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(200px, 46%), 1fr));
  gap: 14px 14px; }
.truth { padding-bottom: 1.1em; margin-bottom: 1em; border-bottom: 1px dashed var(--rule); }
.scene figure { margin: 0 0 .6em; }
.scene img, .scene .photo { display: block; width: 100%; height: auto; border-radius: 3px; }
.scene figcaption { font-size: .78rem; padding-top: .25em; line-height: 1.35; }
.tile h4 { display: flex; gap: .4em; align-items: center; font-size: .84rem; min-width: 0; }
.tile h4 span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tile, .tile figure { min-width: 0; }
.store { position: absolute; }
.pale { fill: var(--pale); }
.frame { fill: none; stroke: var(--c); stroke-width: 2.4; vector-effect: non-scaling-stroke; }

dl { display: grid; grid-template-columns: minmax(7em, max-content) 1fr; gap: .3em 1.4em; font-size: .9rem;
  margin: .8em 0 1.2em; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 4px; padding: .8em 1em;
  overflow-x: auto; max-height: 24em; }
details { margin: .8em 0; } summary { cursor: pointer; font-weight: 500; }
details > :nth-child(2) { margin-top: .8em; }
.rows { max-height: 26em; overflow: auto; } .rows thead th { position: sticky; top: 0; background: var(--paper);
  z-index: 1; }
.rows td, .rows tbody th { text-align: left; padding-right: 1.1em; } .rows tbody th { max-width: 24em; }
.rows thead th { text-align: left; }
.filter { display: none; gap: .6em; align-items: center; font-size: .9rem; } .js .filter { display: flex;
  flex-wrap: wrap; }
.filter input { font: inherit; padding: .25em .5em; border: 1px solid var(--rule); border-radius: 4px;
  background: var(--card); color: var(--ink); width: min(22em, 100%); }
footer { padding: 30px 20px 60px; color: var(--soft); font-size: .84rem; }
.skip { position: absolute; left: -100vw; } .skip:focus { left: 8px; top: 8px; background: var(--card);
  padding: .4em .8em; z-index: 3; }

@media (max-width: 600px) {
  .bar form { overflow: auto hidden; } .chips { flex-wrap: nowrap; } .group > span { width: auto;
    padding-right: .8em; } .chip { flex: none; }
  main, header, footer, .bar form { padding-inline: 16px; }
  header { padding-top: 26px; }
  th:first-child { max-width: 9.5em; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5em; }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; }
  .bar { position: static; } .scroll, .rows, pre { overflow: visible; max-height: none; }
  .panels figure, .scene, tr, figure { break-inside: avoid; } nav, .filter, .skip { display: none; }
  table { font-size: .68rem; } th:first-child { position: static; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SCRIPT = """
document.documentElement.classList.add("js");
for (const filter of document.querySelectorAll(".filter input")) {
  const table = document.getElementById(filter.getAttribute("aria-controls"));
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const count = filter.parentElement.querySelector("output");
  const show = () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const cells = [...row.cells].map(cell => cell.textContent.toLowerCase());
      row.hidden = !words.every(word => {
        const [column, value] = word.split("=");
        return value === undefined ? cells.some(cell => cell.includes(word)) : cells[columns.indexOf(column)] === value;
      });
      shown += !row.hidden;
    }
    count.textContent = shown + " of " + rows.length + " shown";
  };
  filter.addEventListener("input", show);
  show();
  for (const link of document.querySelectorAll("[data-filter]"))
    link.addEventListener("click", () => { filter.value = link.dataset.filter; show(); });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => part.open = true));
"""


def style_sheet(looks: Iterable[Look], splits: Iterable[str]) -> Markup:
    """The style sheet with the policies' colours, and what ticking off a policy or choosing a split hides.

    It needs no script: a page where scripts are forbidden works in the same way.
    """
    rules = []
    for look in looks:
        # Black is ink: on a dark page it is light.
        colour = "var(--ink)" if look.colour == "#000000" else look.colour
        rules.append(f".{look.css} {{ --c: color-mix(in oklab, {colour}, white var(--lift)); }}")
        rules.append(f"body:has(#show-{look.css}:not(:checked)) .{look.css}:not(.swatch) {{ display: none; }}")
    for split in splits:
        rules.append(f"body:has(#split-{split}:checked) .of-split:not(.of-{split}) {{ display: none; }}")
    return Markup(STYLE + "\n".join(rules) + "\n")
