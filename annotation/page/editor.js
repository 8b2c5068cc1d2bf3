// The tools: what the mouse does to the label of the region, with undo and redo.

import * as labels from "./labels.js";

const NEAR = 9;                  // Points on the screen within which a corner is hit.
const MOST_HISTORY = 64e6;       // Bytes of labels to go back to.

export class Editor {
  // done(kind, class id or null) is called after each event, and picked(class id) when a class was picked up.
  constructor(stage, done, picked) {
    Object.assign(this, { stage, done, picked, unit: null, id: 0, moving: false });
    this.drag = null;
    const canvas = stage.canvas;
    canvas.addEventListener("pointerdown", event => this.down(event));
    canvas.addEventListener("pointermove", event => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.up());
    canvas.addEventListener("pointerleave", () => { stage.pointer = null; stage.draw(); });
    canvas.addEventListener("contextmenu", event => event.preventDefault());
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      if (this.unit) stage.zoom(1.0015 ** -event.deltaY, { x: event.clientX - box.left, y: event.clientY - box.top });
    }, { passive: false });
  }

  open(unit) {
    this.unit = unit;
    this.past = [];
    this.future = [];
    this.drag = null;
    this.stage.tool.corners = [];
    this.stage.show(unit);
  }

  close() { this.unit = this.drag = null; }

  choose(name) {
    this.stage.tool.name = name;
    this.stage.tool.corners = [];
    this.stage.draw();
  }

  down(event) {
    if (!this.unit || this.drag) return;
    this.stage.canvas.setPointerCapture(event.pointerId);
    const at = this.stage.at(event), x = Math.floor(at.x), y = Math.floor(at.y), tool = this.stage.tool.name;
    if (event.button === 1 || event.button === 0 && this.moving) this.drag = { moving: event };
    else if (event.button === 2) { if (this.inside(x, y)) this.picked(this.unit.label[y * this.unit.width + x]); }
    else if (event.button !== 0) return;
    else if (tool === "polygon") this.corner(at);
    else if (tool === "fill") {
      if (this.inside(x, y)) this.change("fill", this.id, () => labels.fill(this.unit, x, y, this.id));
    } else if (tool !== "superpixel" || this.unit.areas) {
      this.drag = { kind: tool, before: this.unit.label.slice(), last: { x, y }, hit: false };
      this.stroke({ x, y });
    }
  }

  moved(event) {
    if (!this.unit) return;
    this.stage.pointer = this.stage.at(event);
    if (this.drag?.moving) {
      this.stage.move(event.clientX - this.drag.moving.clientX, event.clientY - this.drag.moving.clientY);
      this.drag.moving = event;
    } else if (this.drag)
      // The browser puts several movements into one event when it is busy.
      for (const part of event.getCoalescedEvents?.() ?? [event]) {
        const at = this.stage.at(part);
        this.stroke({ x: Math.floor(at.x), y: Math.floor(at.y) });
      }
    this.stage.draw();
  }

  stroke(to) {
    const { kind, last } = this.drag, { radius } = this.stage.tool, { width, height } = this.unit;
    labels.line(last, to, (x, y) => {
      if (kind === "superpixel") {
        const area = this.inside(x, y) ? this.unit.areas[y * width + x] : this.drag.area;
        if (area === this.drag.area) return;
        labels.superpixel(this.unit, x, y, this.id);
        this.drag.area = area;
      } else {
        if (x < -radius || y < -radius || x >= width + radius || y >= height + radius) return;
        labels.disc(this.unit, x, y, radius, kind === "erase" ? labels.NOT_LABELLED : this.id);
      }
      this.drag.hit = true;
    });
    this.drag.last = to;
    this.stage.relabel();
  }

  up() {
    const drag = this.drag;
    this.drag = null;
    if (drag?.hit) this.finish(drag.kind, drag.kind === "erase" ? labels.NOT_LABELLED : this.id, drag.before);
  }

  corner(at) {
    const { corners } = this.stage.tool;
    const near = other => Math.hypot(at.x - other.x, at.y - other.y) * this.stage.scale < NEAR;
    // A second click at the last corner ends the polygon, as one at the first corner does.
    if (corners.length >= 3 && (near(corners[0]) || near(corners.at(-1)))) return this.closePolygon();
    if (corners.length && near(corners.at(-1))) return;
    corners.push(at);
    this.done("vertex", this.id);
    this.stage.draw();
  }

  // Returns whether there was a polygon to close.
  closePolygon() {
    const { corners } = this.stage.tool;
    if (!corners.length) return false;
    if (corners.length >= 3) {
      this.stage.tool.corners = [];
      this.change("polygon", this.id, () => labels.polygon(this.unit, corners, this.id));
    }
    return true;
  }

  dropPolygon() {
    this.stage.tool.corners = [];
    this.stage.draw();
  }

  clear() { this.change("clear", null, () => this.unit.label.fill(labels.NOT_LABELLED)); }

  change(kind, id, act) {
    const before = this.unit.label.slice();
    act();
    this.finish(kind, id, before);
  }

  finish(kind, id, before) {
    if (before.some((old, i) => old !== this.unit.label[i])) {
      this.past.push(before);
      this.future = [];
      if (this.past.length * before.length > MOST_HISTORY) this.past.shift();
    }
    this.stage.relabel();
    this.done(kind, id);
  }

  undo() {
    // The corners of a polygon come before what was done before it.
    if (this.stage.tool.corners.pop()) this.stage.draw();
    else this.back(this.past, this.future, "undo");
  }

  redo() { this.back(this.future, this.past, "redo"); }

  back(from, to, kind) {
    if (!from.length || this.drag) return;
    to.push(this.unit.label.slice());
    this.unit.label.set(from.pop());
    this.stage.relabel();
    this.done(kind, null);
  }

  inside(x, y) { return x >= 0 && y >= 0 && x < this.unit.width && y < this.unit.height; }
}
