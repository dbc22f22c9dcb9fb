// Memory over time: what is counted, stacked by kind, what is resident, the budget,
// and marks where models came and went. uPlot draws it.

import { $, attr, color, darkScheme, el, put } from './dom.js';
import { mb, t, time } from './i18n.js';
import { store } from './store.js';
import { sentence } from './decisions.js';

const groups = [
  ['base', 'base', ['base', 'bodies']], ['weights', 'mapped', ['mapped']], ['sessions', 'private', ['private']],
  ['work', 'running', ['working', 'running']], ['loading', 'loading', ['loading', 'preparing']], ['unexplained', 'unexplained', ['unexplained']],
];
const ranges = [5, 15, 60];
const markColor = { loaded: 'good', closed: 'bad', cooled: 'calm', refused: 'warn' };
let minutes = 5;
let plot = null;
let times = [];
let top = 1; // of the scale: the budget, unless it is far above all that was counted
let colors = {};
let drawn = 0;

function data() {
  const from = Date.now() - minutes * 60000;
  times = [];
  const stack = groups.map(() => []);
  const [counted, used, max] = [[], [], []];
  const limit = store.memory?.max_memory_mb || null;
  const began = store.samples.find((s) => s)?.at ?? Infinity;
  for (const p of store.past) {
    if (p.at < from || p.at >= began) continue;
    times.push(p.at / 1000);
    counted.push(p.counted); used.push(null); max.push(limit);
    for (const s of stack) s.push(null);
  }
  let last = 0;
  for (const s of store.samples) {
    if (s && s.at < from) continue;
    if (!s && !last) continue;
    last = s ? s.at : last + 1;
    times.push(last / 1000);
    let total = 0;
    groups.forEach(([, , of], i) => {
      if (!s) return stack[i].push(null);
      for (const k of of) total += k === 'unexplained' ? s.unexplained : s.ledger[k] || 0;
      return stack[i].push(total);
    });
    counted.push(s ? s.counted : null); used.push(s ? s.used : null); max.push(s ? s.max || null : null);
  }
  const peak = Math.max(1, ...counted, ...used);
  top = limit && limit <= 4 * peak ? Math.max(limit, peak) : peak;
  return [times, ...stack, counted, used, max];
}

function marks(u) {
  const { ctx, bbox } = u;
  const size = 5 * devicePixelRatio;
  ctx.save();
  for (const d of store.decisions) {
    const x = u.valToPos(d.at / 1000, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.fillStyle = colors[markColor[d.kind]];
    ctx.beginPath();
    const y = bbox.top + size;
    if (d.kind === 'cooled') ctx.arc(x, y, size * 0.7, 0, 7);
    else if (d.kind === 'refused') ctx.rect(x - size * 0.7, y - size * 0.7, size * 1.4, size * 1.4);
    else {
      const way = d.kind === 'loaded' ? -1 : 1;
      ctx.moveTo(x, y + way * size); ctx.lineTo(x - size, y - way * size * 0.7); ctx.lineTo(x + size, y - way * size * 0.7);
    }
    ctx.fill();
  }
  ctx.restore();
}

function readout(u) {
  const i = u.cursor.idx;
  if (i == null || u.cursor.left < 0) return put($('readout'), t('chart.none'));
  const at = times[i];
  const [counted, used] = [u.data[groups.length + 1][i], u.data[groups.length + 2][i]];
  if (counted == null) return put($('readout'), t('chart.none'));
  let text = t('chart.at', { time: time(at * 1000), counted: mb(counted) });
  if (used != null) text += t('chart.used', { used: mb(used) });
  const near = store.decisions.filter((d) => Math.abs(d.at / 1000 - at) <= (minutes * 60) / 150).at(-1);
  return put($('readout'), near ? `${text} · ${sentence(near)}` : text);
}

const twoDigits = (n) => String(n).padStart(2, '0');

function axisTime(s) {
  const d = new Date(s * 1000);
  return `${twoDigits(d.getHours())}:${twoDigits(d.getMinutes())}${d.getSeconds() ? `:${twoDigits(d.getSeconds())}` : ''}`;
}

function make() {
  plot?.destroy();
  for (const c of ['text', 'soft', 'line', 'edge', 'bad', 'good', 'calm', 'warn', ...groups.map((g) => g[1])]) colors[c] = color(c);
  const step = uPlot.paths.stepped({ align: 1 });
  const area = groups.map(([, c]) => ({ stroke: 'transparent', width: 0, fill: `${colors[c]}d0`, paths: step, points: { show: false } }));
  const axis = { stroke: colors.soft, grid: { stroke: colors.line, width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  plot = new uPlot({
    width: $('chart').clientWidth, height: $('chart').clientHeight, legend: { show: false }, padding: [14, 22, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    scales: {
      x: { time: true, range: () => [Math.max(Date.now() / 1000 - minutes * 60, Math.min(times[0] ?? Infinity, Date.now() / 1000 - 60)), Date.now() / 1000] },
      y: { range: () => [0, 1.12 * top] },
    },
    axes: [
      { ...axis, size: 30, values: (u, all) => all.map(axisTime), space: 76 },
      { ...axis, size: 62, values: (u, all) => all.map((v) => `${mb(v)} MB`) },
    ],
    series: [
      {}, ...area,
      { stroke: colors.text, width: 1, dash: [2, 3], paths: step, points: { show: false } },
      { stroke: colors.text, width: 2, paths: step, points: { show: false } },
      { stroke: colors.bad, width: 1.5, dash: [6, 4], paths: step, points: { show: false } },
    ],
    bands: groups.slice(1).map((_, i) => ({ series: [i + 2, i + 1], fill: area[i + 1].fill })),
    hooks: { draw: [marks], setCursor: [readout] },
  }, data(), $('chart'));
}

function key(swatch, text) { return el('li', {}, swatch, el('span', {}, text)); }

function legend() {
  const line = (c, dashed) => {
    const s = el('span', { className: 'swatch line' });
    s.style.background = dashed ? `repeating-linear-gradient(90deg, var(--${c}) 0 4px, transparent 4px 6px)` : `var(--${c})`;
    return s;
  };
  const box = (c) => { const s = el('span', { className: 'swatch' }); s.style.background = `var(--${c})`; return s; };
  const sign = (text, c) => { const s = el('span', { 'aria-hidden': 'true' }, text); s.style.color = `var(--${c})`; return s; };
  $('marks').replaceChildren(
    ...groups.map(([name, c]) => key(box(c), t(`group.${name}`))),
    key(line('text', true), t('series.counted')), key(line('text'), t('series.resident')), key(line('bad', true), t('series.budget')),
    key(sign('▲', 'good'), t('mark.loaded')), key(sign('▼', 'bad'), t('mark.closed')), key(sign('●', 'calm'), t('mark.cooled')), key(sign('■', 'warn'), t('mark.refused')),
  );
}

// openChart makes the buttons and watches the size and the colours.
export function openChart() {
  legend();
  put($('readout'), t('chart.none'));
  for (const n of ranges) {
    const b = el('button', { type: 'button', 'aria-pressed': String(n === minutes) }, n === 60 ? t('hour') : t('minutes', { n }));
    b.addEventListener('click', () => {
      minutes = n;
      for (const other of $('range').children) attr(other, 'aria-pressed', String(other === b));
      drawn = 0;
      drawChart();
    });
    $('range').append(b);
  }
  darkScheme.addEventListener('change', () => { if (plot) { make(); } });
  new ResizeObserver(() => {
    if (plot && $('chart').clientWidth) plot.setSize({ width: $('chart').clientWidth, height: $('chart').clientHeight });
  }).observe($('chart'));
}

// drawChart shows what is known now, at most once a second.
export function drawChart() {
  if (!$('chart').clientWidth || Date.now() - drawn < 900) return;
  drawn = Date.now();
  if (!plot) make(); else plot.setData(data());
  const from = drawn - minutes * 60000;
  const counted = plot.data[groups.length + 1].filter((v) => v != null);
  attr($('chart'), 'aria-label', t('chart.label', {
    n: minutes, counted: mb(counted.at(-1) ?? 0), max: mb(store.memory?.max_memory_mb ?? 0), peak: mb(Math.max(0, ...counted)),
    events: store.decisions.filter((d) => d.at > from && (d.kind === 'loaded' || d.kind === 'closed')).length,
  }));
}
