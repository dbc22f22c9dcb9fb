// Draws what a model found onto a picture: boxes, rotated boxes, masks, skeletons.

const limit = 1600; // longest side that is drawn

// hue gives neighbouring classes colours that differ well.
export function classColor(id, alpha = 1) {
  const h = ((id * 0.618033988749895 + 0.02) % 1) * 360;
  return `hsl(${h.toFixed(1)} 85% 55% / ${alpha})`;
}

// COCO's limbs, by the part of the body they belong to.
const limbs = [
  ['#ff8c1e', [[15, 13], [13, 11], [16, 14], [14, 12]]], ['#f06efa', [[11, 12], [5, 11], [6, 12]]],
  ['#3c96ff', [[5, 6], [5, 7], [6, 8], [7, 9], [8, 10]]], ['#50dc3c', [[1, 2], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6]]],
];
const seenFrom = 0.5; // visibility from which a point is drawn

// corners of a prediction's rotated box, its upright one, or none.
function corners(p) {
  if (p.obb) return p.obb.corners;
  if (p.x1 === undefined || p.x1 === null) return null;
  return [[p.x1, p.y1], [p.x2, p.y1], [p.x2, p.y2], [p.x1, p.y2]];
}

function path(ctx, points, k) {
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x * k, y * k) : ctx.moveTo(x * k, y * k)));
  ctx.closePath();
}

// runs paints a mask in COCO's run lengths, which go down the columns, off first.
function runs(ctx, mask, id, k) {
  const [h, w] = mask.size;
  const layer = new OffscreenCanvas(w, h);
  const of = layer.getContext('2d');
  of.fillStyle = classColor(id, 1);
  let [at, on] = [0, false];
  for (const n of mask.counts) {
    for (let left = on ? n : 0, p = at; left > 0;) {
      const [x, y] = [Math.floor(p / h), p % h];
      const columns = y === 0 ? Math.floor(left / h) : 0;
      const take = columns ? columns * h : Math.min(left, h - y);
      if (columns) of.fillRect(x, 0, columns, h); else of.fillRect(x, y, 1, take);
      p += take;
      left -= take;
    }
    at += n;
    on = !on;
  }
  ctx.globalAlpha = 0.45;
  ctx.drawImage(layer, 0, 0, w * k, h * k);
  ctx.globalAlpha = 1;
}

function skeleton(ctx, points, k, line) {
  const there = (i) => i < points.x.length && (!points.visible || points.visible[i] >= seenFrom);
  const at = (i) => [points.x[i] * k, points.y[i] * k];
  ctx.lineWidth = line;
  if (points.x.length === 17) {
    for (const [stroke, pairs] of limbs) {
      ctx.strokeStyle = stroke;
      for (const [a, b] of pairs) {
        if (!there(a) || !there(b)) continue;
        ctx.beginPath(); ctx.moveTo(...at(a)); ctx.lineTo(...at(b)); ctx.stroke();
      }
    }
  }
  for (let i = 0; i < points.x.length; i++) {
    if (!there(i)) continue;
    ctx.beginPath(); ctx.arc(...at(i), line * 1.6, 0, 7);
    ctx.fillStyle = '#fff'; ctx.fill(); ctx.lineWidth = line * 0.7; ctx.strokeStyle = '#1a2230'; ctx.stroke();
  }
}

function tag(ctx, text, x, y, id, size) {
  ctx.font = `600 ${size}px system-ui, sans-serif`;
  const [w, h] = [ctx.measureText(text).width + size * 0.7, size * 1.45];
  const left = Math.max(0, Math.min(x, ctx.canvas.width - w));
  const top = y - h < 0 ? y : y - h;
  ctx.fillStyle = classColor(id, 1);
  ctx.fillRect(left, top, w, h);
  ctx.fillStyle = '#10141b';
  ctx.textBaseline = 'middle';
  ctx.fillText(text, left + size * 0.35, top + h * 0.53);
}

// draw shows picture (what a canvas can draw, width and height beside it) with predictions on it.
export function draw(canvas, picture, predictions) {
  const k = Math.min(1, limit / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(picture.width * k));
  canvas.height = Math.max(1, Math.round(picture.height * k));
  const ctx = canvas.getContext('2d');
  ctx.drawImage(picture.image, 0, 0, canvas.width, canvas.height);
  const unit = canvas.width / (canvas.clientWidth || canvas.width); // as many pixels as one on the screen has
  const [line, size] = [2 * unit, 12 * unit];
  ctx.lineJoin = 'round';
  for (const p of predictions) {
    if (p.mask) runs(ctx, p.mask, p.class_id, k);
    if (p.segments?.x?.length) {
      path(ctx, p.segments.x.map((x, i) => [x, p.segments.y[i]]), k);
      ctx.fillStyle = classColor(p.class_id, 0.4); ctx.fill();
      ctx.strokeStyle = classColor(p.class_id); ctx.lineWidth = line * 0.7; ctx.stroke();
    }
  }
  for (const p of [...predictions].reverse()) {
    const c = corners(p);
    if (!c) continue;
    path(ctx, c, k);
    ctx.strokeStyle = classColor(p.class_id); ctx.lineWidth = line; ctx.stroke();
    if (p.keypoints) skeleton(ctx, p.keypoints, k, line);
    const top = c.reduce((a, b) => (b[1] < a[1] ? b : a));
    const left = p.obb ? top[0] : p.x1;
    tag(ctx, `${p.class_name} ${Math.round(p.confidence * 100)} %`, left * k - line / 2, top[1] * k, p.class_id, size);
  }
}

// shapes draws a picture with some simple shapes, such as the demo model looks for.
export function shapes(width = 640, height = 480) {
  const canvas = new OffscreenCanvas(width, height);
  const ctx = canvas.getContext('2d');
  const random = (a, b) => a + Math.random() * (b - a);
  const sky = ctx.createLinearGradient(0, 0, width, height);
  const hue = random(0, 360);
  sky.addColorStop(0, `hsl(${hue} 25% 82%)`); sky.addColorStop(1, `hsl(${hue + 40} 25% 62%)`);
  ctx.fillStyle = sky; ctx.fillRect(0, 0, width, height);
  const polygon = (n, inner = 1) => Array.from({ length: n }, (_, i) => {
    const [a, r] = [(i / n) * 2 * Math.PI - Math.PI / 2, i % 2 ? inner : 1];
    return [Math.cos(a) * r, Math.sin(a) * r];
  });
  const cross = [[-1, -0.33], [-0.33, -0.33], [-0.33, -1], [0.33, -1], [0.33, -0.33], [1, -0.33], [1, 0.33], [0.33, 0.33], [0.33, 1], [-0.33, 1], [-0.33, 0.33], [-1, 0.33]];
  const kinds = [polygon(40), [[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]], polygon(3), polygon(10, 0.42), cross].sort(() => Math.random() - 0.5);
  kinds.forEach((points, i) => {
    const [column, row] = [i % 3, Math.floor(i / 3)];
    const r = random(0.2, 0.34) * Math.min(width / 3, height / 2) * 1.3;
    const [x, y] = [(column + random(0.42, 0.58) + (row ? 0.5 : 0)) * (width / 3), (row + random(0.42, 0.58)) * (height / 2)];
    ctx.fillStyle = `hsl(${hue + 130 + i * 67} 75% ${random(32, 52)}%)`;
    path(ctx, points.map(([a, b]) => [x + a * r, y + b * r]), 1);
    ctx.fill();
  });
  return canvas.convertToBlob({ type: 'image/png' });
}
