// Changes of a label: one class id per pixel, row by row, in a Uint8Array. Nothing outside the region is ever touched.

export const NOT_LABELLED = 255;

// Calls visit(x, y) for every pixel on the way from one pixel to another, both of them included.
export function line(from, to, visit) {
  const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
  for (let i = 0; i <= steps; i++)
    visit(Math.round(from.x + (to.x - from.x) * i / steps), Math.round(from.y + (to.y - from.y) * i / steps));
}

// Gives a class to the pixels around (x, y) that a round brush covers; its diameter is 2 * radius + 1 pixels.
export function disc({ label, width, height }, x, y, radius, id) {
  const limit = radius * radius + radius;
  for (let j = Math.max(-radius, -y); j <= Math.min(radius, height - 1 - y); j++) {
    const half = Math.floor(Math.sqrt(limit - j * j));
    const left = Math.max(0, x - half), right = Math.min(width - 1, x + half);
    if (left <= right) label.fill(id, (y + j) * width + left, (y + j) * width + right + 1);
  }
}

// Gives a class to the area of equal label around (x, y); areas that touch at a corner alone are two.
export function fill({ label, width, height }, x, y, id) {
  const old = label[y * width + x];
  if (old === id) return;
  const waiting = [y * width + x];
  while (waiting.length) {
    const i = waiting.pop();
    if (label[i] !== old) continue;
    label[i] = id;
    const column = i % width;
    if (column > 0) waiting.push(i - 1);
    if (column < width - 1) waiting.push(i + 1);
    if (i >= width) waiting.push(i - width);
    if (i < width * (height - 1)) waiting.push(i + width);
  }
}

// Gives a class to the pixels whose centres are within a polygon, by the even-odd rule.
export function polygon({ label, width, height }, points, id) {
  for (let y = 0; y < height; y++) {
    const middle = y + .5, crossings = [];
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if ((a.y <= middle) !== (b.y <= middle)) crossings.push(a.x + (middle - a.y) * (b.x - a.x) / (b.y - a.y));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const left = Math.max(0, Math.ceil(crossings[i] - .5)), right = Math.min(width, Math.ceil(crossings[i + 1] - .5));
      if (left < right) label.fill(id, y * width + left, y * width + right);
    }
  }
}

// Gives a class to the superpixel at (x, y).
export function superpixel({ label, areas, width }, x, y, id) {
  const area = areas[y * width + x];
  for (let i = 0; i < label.length; i++) if (areas[i] === area) label[i] = id;
}

// Number of pixels of each id, 0 to 255.
export function counts(label) {
  const found = new Uint32Array(256);
  for (const id of label) found[id]++;
  return found;
}

// The borders between pixels for which differ(i, j) holds, as a path; i and j are places of neighbours in the label, or
// -1 for what is outside.
export function borders({ width, height }, differ) {
  const path = new Path2D();
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (differ(i, x < width - 1 ? i + 1 : -1)) { path.moveTo(x + 1, y); path.lineTo(x + 1, y + 1); }
      if (differ(i, y < height - 1 ? i + width : -1)) { path.moveTo(x, y + 1); path.lineTo(x + 1, y + 1); }
      if (x === 0 && differ(-1, i)) { path.moveTo(0, y); path.lineTo(0, y + 1); }
      if (y === 0 && differ(-1, i)) { path.moveTo(x, 0); path.lineTo(x + 1, 0); }
    }
  return path;
}
