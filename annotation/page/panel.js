// What stands around the canvas: buttons, classes, progress, what is saved, help.

import { NOT_LABELLED, counts } from "./labels.js";

export const $ = id => document.getElementById(id);
const DIGITS = "1234567890";
const FEW = 12;         // Classes that can be seen all at once.

// A button with its key; a click with the mouse leaves the keyboard to the page.
export function button(parent, text, key, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  if (key) made.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  made.addEventListener("click", event => { if (event.detail) made.blur(); act(); });
  parent.append(made);
  return made;
}

export class Classes {
  constructor(classes, choose) {
    Object.assign(this, { classes, choose, id: 0, buttons: new Map(), many: classes.length > FEW, first: new Set() });
    $("classes").classList.toggle("many", this.many);
    classes.forEach(({ name, colour }, id) => this.add(id, name, DIGITS[id] || "", `rgb(${colour.join(" ")})`));
    this.add(NOT_LABELLED, "not sure", "N", null);
    $("search").addEventListener("input", () => this.search());
    $("search").addEventListener("keydown", event => {
      event.stopPropagation();
      if (!["Enter", "Escape"].includes(event.key)) return;
      const [found] = this.matching();
      if (event.key === "Enter" && found !== undefined) this.pick(found);
      $("search").value = "";
      $("search").blur();
      this.search();
      this.buttons.get(this.id).scrollIntoView({ block: "nearest" });
    });
  }

  add(id, name, key, colour) {
    const made = button($("classes"), "", "", () => this.pick(id));
    const swatch = document.createElement("span"), what = document.createElement("span");
    swatch.className = colour ? "swatch" : "swatch none";
    if (colour) swatch.style.setProperty("--c", colour);
    what.className = "what";
    what.textContent = made.title = name;
    const share = Object.assign(document.createElement("span"), { className: "share" });
    made.append(swatch, what, share);
    if (key) made.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    made.dataset.id = id;
    this.buttons.set(id, made);
  }

  // Names that begin with what was typed come before those that have it elsewhere.
  matching() {
    const text = $("search").value.trim().toLowerCase();
    const places = [...this.buttons].map(([id, made]) => [made.title.toLowerCase().indexOf(text), id]);
    return places.filter(([place]) => place >= 0).sort((a, b) => Math.sign(a[0]) - Math.sign(b[0])).map(([, id]) => id);
  }

  search() {
    const found = this.matching(), typed = $("search").value.trim() !== "";
    for (const [id, made] of this.buttons) {
      made.hidden = typed && !found.includes(id);
      made.style.setProperty("order", typed ? found.indexOf(id) : this.first.has(id) ? -1 : 0);
    }
  }

  pick(id) {
    if (!this.buttons.has(id)) return;
    this.id = id;
    for (const [other, made] of this.buttons) made.setAttribute("aria-pressed", other === id);
    this.choose(id);
  }

  // The class of a digit, or undefined.
  ofKey(key) {
    const id = DIGITS.indexOf(key);
    return id >= 0 && id < this.classes.length ? id : undefined;
  }

  // Of many classes, those of the region come first; they stay there while it is shown.
  open(label) {
    const found = counts(label);
    this.first = new Set(this.many ? [...this.buttons.keys()].filter(id => found[id] || id === NOT_LABELLED) : []);
    this.search();
    $("classes").scrollTop = 0;
  }

  // Says how much of the region each class has.
  share(label) {
    const found = counts(label);
    for (const [id, made] of this.buttons) {
      const percent = 100 * found[id] / label.length;
      made.querySelector(".share").textContent = !percent ? "" : percent < 1 ? "<1 %" : Math.round(percent) + " %";
    }
  }
}

export class Progress {
  constructor(units, states, go) {
    Object.assign(this, { units, states });
    $("strip").classList.toggle("few", units.length <= 60);
    $("strip").append(...units.map(() => document.createElement("i")));
    $("strip").addEventListener("click", event => {
      const box = $("strip").getBoundingClientRect();
      go(Math.min(units.length - 1, Math.floor((event.clientX - box.left) / box.width * units.length)));
    });
  }

  count(state) { return this.states.filter(other => other === state).length; }

  say() {
    const [accepted, skipped, open] = ["accepted", "skipped", "open"].map(state => this.count(state));
    return `${accepted} labelled, ${skipped} skipped, ${open} to do`;
  }

  show(place) {
    const state = this.states[place];
    if (place !== null) $("where").textContent = `Region ${place + 1} of ${this.units.length}` +
      (state === "accepted" ? " (accepted)" : state === "skipped" ? " (skipped)" : "");
    else $("where").textContent = "";
    $("counts").textContent = this.say();
    [...$("strip").children].forEach((cell, i) => { cell.className = i === place ? "here" : this.states[i]; });
  }
}

// What is saved and what is not, in words.
export function showSaved(state, waiting, error) {
  const why = error?.status ? error.message : "the server does not answer";
  const text = {
    saved: "Saved", saving: "Saving \u2026", refused: "Not saved", away: `No connection: ${why}`,
    waiting: `Not saved (${waiting === 1 ? "1 change" : waiting + " changes"}): ${why}; trying again`,
  }[state];
  const shown = $("saved");
  if (shown.textContent !== text) shown.textContent = text;
  shown.title = text;
  shown.dataset.state = state;
}

// The list of keys in the help.
export function showKeys(groups) {
  for (const keys of groups) {
    const list = document.createElement("dl");
    for (const [key, what] of keys) {
      const term = document.createElement("dt"), text = document.createElement("dd");
      for (const part of key.split(" ")) {
        term.append(Object.assign(document.createElement("kbd"), { textContent: part }), " ");
      }
      text.textContent = what;
      list.append(term, text);
    }
    $("keys-lists").append(list);
  }
}
