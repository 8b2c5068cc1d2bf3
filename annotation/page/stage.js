// The canvas: the region, what surrounds it, its label, and the tool at hand; zoom and moving.

import { NOT_LABELLED, borders } from "./labels.js";

const ROOM = 12;               // Points left free around the picture.
const LARGEST = 48, MOST_GRID = 150000;
const DOT = 0xb0ffffff;        // White, not quite opaque.
const BRIGHT = "rgb(255 255 255 / .95)", DARK = "rgb(0 0 0 / .75)";

export class Stage {
  constructor(canvas, colours) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), unit: null, opacity: .5, scale: 1, x: 0, y: 0 });
    this.tool = { name: "", radius: 0, corners: [] };
    this.pointer = null;
    this.hidden = false;
    // Four bytes of a pixel at once, little end first.
    this.palette = new Uint32Array(256);
    colours.forEach(([red, green, blue], id) => {
      this.palette[id] = (0xff << 24 | blue << 16 | green << 8 | red) >>> 0;
    });
    new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
  }

  show(unit) {
    this.unit = unit;
    this.overlay = new OffscreenCanvas(unit.width, unit.height);
    this.pixels = new ImageData(unit.width, unit.height);
    this.grid = this.area = null;
    this.fit();
    this.relabel();
  }

  // Shows all of the picture, in whole pixels where that makes it no smaller than half.
  fit() {
    const { clientWidth, clientHeight } = this.canvas.parentElement, dense = devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * dense);
    this.canvas.height = Math.round(clientHeight * dense);
    this.canvas.style.width = clientWidth + "px";
    this.canvas.style.height = clientHeight + "px";
    if (!this.unit) return;
    const { width, height } = this.unit.picture;
    const most = Math.min((clientWidth - 2 * ROOM) / width, (clientHeight - 2 * ROOM) / height, LARGEST);
    this.scale = most >= 2 ? Math.floor(most) : Math.max(most, .01);
    this.smallest = this.scale / 2;
    this.x = Math.round((clientWidth - width * this.scale) / 2);
    this.y = Math.round((clientHeight - height * this.scale) / 2);
    this.draw();
  }

  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const scale = Math.min(LARGEST, Math.max(this.smallest, this.scale * factor));
    this.x = at.x - (at.x - this.x) * scale / this.scale;
    this.y = at.y - (at.y - this.y) * scale / this.scale;
    this.scale = scale;
    this.draw();
  }

  move(x, y) { this.x += x; this.y += y; this.draw(); }

  // Where the mouse is, in pixels of the region, as a point between them.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: (event.clientX - box.left - this.x) / this.scale - this.unit.left,
      y: (event.clientY - box.top - this.y) / this.scale - this.unit.top,
    };
  }

  // The label has changed; many changes between two frames are drawn once.
  relabel() { this.stale = true; this.draw(); }

  paintLabel() {
    const { label, width, height } = this.unit, { palette } = this, out = new Uint32Array(this.pixels.data.buffer);
    for (let i = 0; i < label.length; i++) out[i] = palette[label[i]];
    // Dots tell what is not labelled from what has a dark or a pale class.
    for (let y = 1; y < height; y += 4)
      for (let i = y * width + 1; i < (y + 1) * width; i += 4) if (label[i] === NOT_LABELLED) out[i] = DOT;
    this.overlay.getContext("2d").putImageData(this.pixels, 0, 0);
    this.stale = false;
  }

  draw() {
    this.asked ||= requestAnimationFrame(() => { this.asked = 0; if (this.unit) this.paint(); });
  }

  paint() {
    if (this.stale) this.paintLabel();
    const { context, unit, scale } = this, dense = devicePixelRatio, { width, height, left, top, picture } = unit;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(dense * scale, 0, 0, dense * scale, dense * this.x, dense * this.y);
    context.imageSmoothingEnabled = true;
    // The best way to make a large picture smaller takes too long for each frame.
    context.imageSmoothingQuality = scale < 1 ? "medium" : "high";
    context.drawImage(picture, 0, 0);
    const around = new Path2D();
    around.rect(0, 0, picture.width, picture.height);
    around.rect(left, top, width, height);
    context.fillStyle = "rgb(0 0 0 / .52)";
    context.fill(around, "evenodd");
    context.translate(left, top);
    context.imageSmoothingEnabled = false;
    if (!this.hidden) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.overlay, 0, 0);
      context.globalAlpha = 1;
    }
    const frame = new Path2D(), edge = 1 / scale;
    frame.rect(-edge, -edge, width + 2 * edge, height + 2 * edge);
    this.line(frame, 3, DARK);
    this.line(frame, 1.2, BRIGHT);
    if (!this.hidden) this.paintTool();
    this.canvas.dataset.view = [scale, this.x + left * scale, this.y + top * scale].join(" ");
    document.body.dataset.unit = unit.place;
  }

  paintTool() {
    const { unit, tool, pointer } = this, { areas } = unit;
    if (tool.name === "superpixel" && areas) {
      if (areas.length <= MOST_GRID) {
        this.grid ||= borders(unit, (i, j) => i >= 0 && j >= 0 && areas[i] !== areas[j]);
        this.line(this.grid, .6, "rgb(255 255 255 / .4)");
      }
      const { x, y } = pointer ? { x: Math.floor(pointer.x), y: Math.floor(pointer.y) } : { x: -1, y: -1 };
      if (x < 0 || y < 0 || x >= unit.width || y >= unit.height) return;
      const number = areas[y * unit.width + x];
      if (this.area?.number !== number)
        this.area = { number, path: borders(unit, (i, j) => (areas[i] === number) !== (areas[j] === number)) };
      this.line(this.area.path, 3, DARK);
      this.line(this.area.path, 1.5, BRIGHT);
    } else if (tool.name === "polygon" && tool.corners.length) {
      const path = new Path2D(), shown = pointer ? [...tool.corners, pointer] : tool.corners;
      shown.forEach((corner, i) => i ? path.lineTo(corner.x, corner.y) : path.moveTo(corner.x, corner.y));
      path.closePath();
      for (const { x, y } of tool.corners) {
        path.moveTo(x + 3 / this.scale, y);
        path.arc(x, y, 3 / this.scale, 0, 2 * Math.PI);
      }
      this.line(path, 3, DARK);
      this.line(path, 1.5, BRIGHT);
    } else if (["brush", "erase"].includes(tool.name) && pointer) {
      const path = new Path2D();
      path.arc(Math.floor(pointer.x) + .5, Math.floor(pointer.y) + .5, tool.radius + .5, 0, 2 * Math.PI);
      this.line(path, 3, DARK);
      this.line(path, 1.2, BRIGHT);
    }
  }

  line(path, width, style) {
    this.context.lineWidth = width / this.scale;
    this.context.strokeStyle = style;
    this.context.stroke(path);
  }
}

// The map: the whole image, small, with the region's frame.
export function drawMap(canvas, unit) {
  const [height, width] = unit.size, wide = canvas.parentElement.clientWidth, dense = devicePixelRatio;
  const scale = Math.min(wide / width, Math.min(190, innerHeight * .24) / height), context = canvas.getContext("2d");
  canvas.width = Math.round(width * scale * dense);
  canvas.height = Math.round(height * scale * dense);
  canvas.style.width = width * scale + "px";
  canvas.style.height = height * scale + "px";
  context.imageSmoothingQuality = "high";
  context.drawImage(unit.map, 0, 0, canvas.width, canvas.height);
  // A pixel alone would not be seen.
  const side = length => Math.max(length * scale * dense, 5 * dense);
  const box = [unit.x * scale * dense, unit.y * scale * dense, side(unit.width), side(unit.height)];
  for (const [thick, style] of [[4, "#000"], [2, "#fff"]]) {
    context.lineWidth = thick * dense;
    context.strokeStyle = style;
    context.strokeRect(...box);
  }
}
