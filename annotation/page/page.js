// The page: goes from region to region, and gives keys and buttons their work.

import { Editor } from "./editor.js";
import { End } from "./end.js";
import { NOT_LABELLED } from "./labels.js";
import { $, Classes, Progress, button, showKeys, showSaved } from "./panel.js";
import { Saver, Server, Units, insist } from "./server.js";
import { Stage, drawMap } from "./stage.js";

const AHEAD = 2;            // Regions that are fetched before they are needed.
// Milliseconds between two looks at what is going on besides, and while the network is trained.
const STATUS = 3000, SOON = 500;
const TOOLS = [
  ["superpixel", "Superpixel", "S"], ["brush", "Brush", "B"], ["erase", "Eraser", "E"], ["fill", "Fill", "F"],
  ["polygon", "Polygon", "P"],
];
const KEYS = [
  [
    ["Enter", "accept, and on to the next region"], ["K", "skip the region"],
    ["\u2190 \u2192", "the region before, the one after"], ["1 \u2026 9 0", "the first ten classes"],
    ["/", "find a class by its name, Enter takes it"], ["N", "not sure: no label"],
    ["right-click", "pick up the class below"],
  ], [
    ["S", "superpixels: click, or draw over several"], ["B", "brush"], ["E", "eraser: no label"],
    ["F", "fill an area of one class"], ["P", "polygon: click its corners, Enter closes"],
    ["[ ]", "smaller, larger brush"], ["Esc", "drop the polygon"],
  ], [
    ["Z", "undo (Ctrl+Z, too)"], ["Y", "redo (Ctrl+Y, too)"], ["X", "clear: nothing is labelled"],
    ["+ -", "zoom (wheel, too)"], ["V", "all of the region"], ["Space", "held: move the picture"],
    ["H", "held: hide colours"], ["?", "this help"],
  ],
];

// The token comes with the address once, and does not stay in it.
const address = new URL(location.href), given = address.searchParams.get("t");
if (given) {
  sessionStorage.setItem("token", given);
  address.searchParams.delete("t");
  history.replaceState(null, "", address);
}
const server = new Server(sessionStorage.getItem("token") || "");

function trouble(error) {
  $("trouble-title").textContent = error.status === 403 ? "No access" : "Not saved";
  $("trouble-text").textContent = error.status === 409
    ? "Another tab or window has gone on with this round. Load this page again to go on here."
    : `${error.message}.`;
  if (!$("trouble").open) $("trouble").showModal();
}
$("reload").addEventListener("click", () => location.reload());
$("keys-close").addEventListener("click", () => $("keys").close());

async function begin() {
  const round = await insist(() => server.json("api/round"), error => {
    showSaved("away", 0, error);
    $("loading").hidden = false;
  });
  const { states, classes } = round;
  server.round = round.round;
  $("loading").hidden = true;
  $("title").textContent = document.title = `${round.title}, round ${round.round}`;
  const saver = new Saver(server, round.events, (state, error) => {
    showSaved(state, saver.waiting.length, error);
    $("end-saved").textContent =
      state === "saved" ? "Everything is saved. You can close this page." : "Not all is saved yet.";
    if (state === "refused") trouble(error);
  });
  saver.show("saved");
  const units = new Units(server, saver, round.units);
  const stage = new Stage($("stage").querySelector("canvas"), classes.map(label => label.colour));
  const progress = new Progress(round.units, states, place => { if (!end.locked) go(place); });
  const end = new End(round, {
    wish,
    last() { go(states.length - 1); },
    skipped() {
      revisiting = true;
      go(nextOpen(-1, "skipped"));
    },
  });
  let place = null, asked = 0, revisiting = false;

  const editor = new Editor(stage, (kind, id) => {
    const labelled = kind !== "vertex";
    saver.add(place, kind, id, labelled ? editor.unit.label.slice() : undefined);
    if (!labelled) return;
    states[place] = "open";
    changed();
  }, id => palette.pick(id));
  const palette = new Classes(classes, id => { editor.id = id; });

  function changed() {
    palette.share(editor.unit.label);
    progress.show(place);
    edits.undo.disabled = !editor.past.length;
    edits.redo.disabled = !editor.future.length;
  }

  // What waits to be saved says itself that there is no answer.
  function away(error) { if (!saver.waiting.length) showSaved("away", 0, error); }

  // The open region that follows a place; the last one is followed by the first one.
  function nextOpen(from, wanted = "open") {
    for (let i = 1; i <= states.length; i++) {
      const other = (from + i + states.length) % states.length;
      if (states[other] === wanted && other !== from) return other;
    }
    return null;
  }

  function ahead() {
    let other = place;
    for (let i = 0; i < AHEAD && other !== null; i++) {
      other = nextOpen(other);
      if (other !== null) units.get(other).catch(() => {});
    }
  }

  async function go(to) {
    const own = ++asked;
    editor.close();
    place = to;
    if (to === null) return finish();
    end.close();
    document.querySelector("main").hidden = false;
    const slow = setTimeout(() => { $("loading").hidden = false; }, 300);
    let unit;
    try { unit = await insist(() => units.get(to), away, () => own !== asked); }
    catch (error) { return trouble(error); }
    finally { clearTimeout(slow); }
    // The person may have gone elsewhere in the meantime.
    if (own !== asked) return;
    $("loading").hidden = true;
    editor.open(unit);
    drawMap($("map").querySelector("canvas"), unit);
    $("name").textContent = `${unit.image}: y ${unit.y}, x ${unit.x}, ${unit.height} \u00d7 ${unit.width} px`;
    $("name").title = $("name").textContent;
    $("stage").setAttribute("aria-busy", !unit.areas);
    if (!unit.areas) insist(unit.complete, away, () => own !== asked).then(() => {
      if (own !== asked) return;
      $("stage").setAttribute("aria-busy", false);
      stage.draw();
    });
    palette.open(unit.label);
    changed();
    saver.add(to, "show", null);
    ahead();
  }

  function finish() {
    stage.unit = null;
    delete document.body.dataset.unit;
    progress.show(null);
    document.querySelector("main").hidden = true;
    end.open(`${states.length} regions: ${progress.say()}.`, progress.count("skipped"));
  }

  // Asks for a training, or for its end, once the server knows all labels.
  async function wish(what) {
    await saver.settled();
    if (!saver.refused) await insist(() => server.request(`api/${what}`, { method: "PUT" }), away).then(look, trouble);
  }

  function leave(kind) {
    if (!editor.unit || editor.drag) return;
    if (kind === "accept" && editor.closePolygon()) return;
    editor.dropPolygon();
    states[place] = kind === "accept" ? "accepted" : "skipped";
    saver.add(place, kind, null, kind === "accept" ? editor.unit.label.slice() : undefined);
    const skipped = revisiting ? states.indexOf("skipped", place + 1) : -1;
    const next = nextOpen(place) ?? (skipped >= 0 ? skipped : null);
    if (next === null) revisiting = false;
    go(next);
    if (next === null && round.trains) wish("train");
  }

  function step(by) {
    if (editor.drag) return;
    if (place === null) { if (by < 0 && !end.locked) go(states.length - 1); return; }
    if (place + by >= states.length && nextOpen(-1) === null) go(null);
    else if (place + by >= 0 && place + by < states.length) go(place + by);
  }

  const tools = new Map(TOOLS.map(([name, text, key]) => [name, button($("kinds"), text, key, () => use(name))]));
  function use(name) {
    for (const [other, made] of tools) made.setAttribute("aria-pressed", other === name);
    editor.choose(name);
  }
  function size(radius) {
    stage.tool.radius = Math.max(0, Math.min(+$("size").max, radius));
    $("size").value = stage.tool.radius;
    $("size-shown").textContent = 2 * stage.tool.radius + 1;
    stage.draw();
  }
  function opacity() {
    stage.opacity = $("opacity").value / 100;
    $("opacity-shown").textContent = $("opacity").value + " %";
    stage.draw();
  }
  function hold(name, on) {
    if (name === "moving") { editor.moving = on; $("stage").classList.toggle("moving", on); }
    else if (stage.hidden !== on) { stage.hidden = on; stage.draw(); }
  }
  const acts = {
    undo() { if (editor.unit) { editor.undo(); } }, redo() { if (editor.unit) editor.redo(); },
    clear() { if (editor.unit && !editor.drag) editor.clear(); },
    closer() { if (editor.unit) stage.zoom(1.5); }, wider() { if (editor.unit) stage.zoom(1 / 1.5); },
    help() { $("keys").showModal(); },
  };
  const edits = {
    undo: button($("edits"), "Undo", "Z", acts.undo), redo: button($("edits"), "Redo", "Y", acts.redo),
    clear: button($("edits"), "Clear", "X", acts.clear),
  };
  button($("views"), "Zoom in", "+", acts.closer);
  button($("views"), "Zoom out", "-", acts.wider);
  button($("views"), "Fit", "V", () => stage.fit());
  button($("actions"), "Back", "\u2190", () => step(-1));
  button($("actions"), "Skip", "K", () => leave("skip"));
  button($("actions"), "Accept and next", "Enter", () => leave("accept")).classList.add("first");
  $("help").addEventListener("click", event => { if (event.detail) $("help").blur(); acts.help(); });
  $("size").addEventListener("input", () => size(+$("size").value));
  $("opacity").addEventListener("input", opacity);
  for (const range of [$("size"), $("opacity")]) range.addEventListener("pointerup", () => range.blur());
  $("palette").hidden = classes.length <= 10;
  showKeys(KEYS);

  const pressed = {
    Enter: () => leave("accept"), k: () => leave("skip"), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    n: () => palette.pick(NOT_LABELLED), "/": () => { if (!$("palette").hidden) $("search").focus(); },
    "[": () => size(stage.tool.radius - 1), "]": () => size(stage.tool.radius + 1),
    z: acts.undo, y: acts.redo, x: acts.clear, "+": acts.closer, "=": acts.closer, "-": acts.wider,
    v: () => stage.fit(), "?": acts.help, Escape: () => { if (editor.unit) editor.dropPolygon(); },
    " ": () => hold("moving", true), h: () => hold("hidden", true),
    ...Object.fromEntries(TOOLS.map(([name, , key]) => [key.toLowerCase(), () => use(name)])),
  };
  addEventListener("keydown", event => {
    const on = event.target instanceof Element ? event.target : document.body;
    // On many keyboards brackets need AltGr, which Windows reports as Ctrl and Alt.
    const graph = event.getModifierState("AltGraph") || event.ctrlKey && event.altKey;
    if (document.querySelector("dialog[open]") || event.altKey && !graph || event.isComposing) return;
    if (on.matches("button, summary") && [" ", "Enter"].includes(event.key)) return;
    if (on.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ((event.ctrlKey || event.metaKey) && !graph) {
      if (!["z", "y"].includes(name)) return;
      event.preventDefault();
      return name === "y" || event.shiftKey ? acts.redo() : acts.undo();
    }
    const id = palette.ofKey(name), act = id === undefined ? pressed[name] : () => palette.pick(id);
    if (!act) return;
    event.preventDefault();
    // A key that is held accepts one region, not all of them.
    if (!event.repeat || !["Enter", "k", "x"].includes(name)) act();
  });
  addEventListener("keyup", event => {
    if (event.key === " ") hold("moving", false);
    if (event.key.toLowerCase() === "h") hold("hidden", false);
  });
  addEventListener("blur", () => { hold("moving", false); hold("hidden", false); });
  addEventListener("beforeunload", event => { if (saver.waiting.length && !saver.refused) event.preventDefault(); });
  addEventListener("resize", () => { if (editor.unit) drawMap($("map").querySelector("canvas"), editor.unit); });

  use("superpixel");
  size(3);
  opacity();
  palette.pick(0);
  $("changes").hidden = !round.changes;
  $("changes").querySelector("p").textContent = round.changes;
  const first = round.last !== null && states[round.last] === "open" ? round.last : nextOpen(round.last ?? -1);
  go(end.locked ? null : first).then(() => {
    // Now that the map has its size: what has changed must not push classes out of sight.
    $("changes").open = true;
    $("changes").open = $("classes").scrollHeight <= $("classes").clientHeight;
  });

  let timer = 0;
  async function look() {
    try {
      end.update(await server.json("api/status"));
      // The training may begin or end while a page is opened, or in another tab.
      if (end.locked && place !== null) go(null);
      else if (!end.locked && place === null && nextOpen(-1) !== null) go(nextOpen(-1));
      if (!saver.waiting.length) showSaved("saved");
    } catch (error) { away(error); }
    clearTimeout(timer);
    timer = setTimeout(look, end.locked ? SOON : STATUS);
  }
  look();
}

begin().catch(trouble);
