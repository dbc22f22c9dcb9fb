// The first page: what the memory is held for, requests, and what was decided.

import { $, attr, darkScheme, el, put } from './dom.js';
import { mb, ms, number, span, t, time } from './i18n.js';
import { latency } from './metrics.js';
import { byFolder, label, store } from './store.js';
import { drawChart } from './chart.js';
import { detail, sentence } from './decisions.js';

const kinds = ['base', 'bodies', 'mapped', 'private', 'working', 'running', 'loading', 'preparing', 'unexplained'];
const bars = new Map();
const legend = new Map();

// open makes what does not change.
export function open() {
  for (const k of kinds) {
    const bar = el('i');
    bar.style.background = `var(--${k})`;
    bars.set(k, bar);
    const swatch = el('span', { className: 'swatch' });
    swatch.style.background = `var(--${k})`;
    const value = el('b');
    legend.set(k, value);
    $('bar').append(bar);
    $('legend').append(el('li', {}, swatch, el('span', {}, t(`kind.${k}`)), value));
  }
  $('bar').append(el('b', { id: 'used' }));
}

function budget(m) {
  const held = { ...m.ledger_mb, unexplained: m.unexplained_mb };
  const counted = Object.values(held).reduce((a, b) => a + b, 0);
  const max = Math.max(m.max_memory_mb || counted, counted, 1);
  for (const k of kinds) {
    bars.get(k).style.width = `${(100 * (held[k] || 0)) / max}%`;
    put(legend.get(k), `${mb(held[k] || 0)} MB`);
  }
  $('used').style.left = `${Math.min(100, (100 * m.memory_used_mb) / max)}%`;
  put($('counted'), mb(counted));
  put($('counted-of'), m.max_memory_mb ? t('memory.of', { max: mb(m.max_memory_mb) }) : `MB ${t('memory.nolimit')}`);
  put($('memory-hint'), t(darkScheme.matches ? 'memory.hint.dark' : 'memory.hint', { used: mb(m.memory_used_mb), free: mb(m.free_mb) }));
  const parts = kinds.filter((k) => held[k] >= 0.05).map((k) => `${t(`kind.${k}`)} ${mb(held[k])} MB`).join(', ');
  attr($('bar'), 'aria-label', t('memory.bar', { max: mb(m.max_memory_mb), counted: mb(counted), parts }));
}

function stats(m) {
  const [first, last] = [store.requests[0], store.requests.at(-1)];
  const seconds = first ? (last.at - first.at) / 1000 : 0;
  const rate = seconds >= 1 ? (last.n - first.n) / seconds : 0;
  put($('rate'), seconds >= 1 ? t('requests.rate', { n: number(rate, rate < 10 ? 1 : 0) }) : '–');
  const over = seconds >= 58 ? 'minute' : seconds >= 1 ? 'short' : 'none';
  put($('rate-sub'), t(`requests.${over}`, { n: number(m.request_count), s: Math.round(seconds) }));
  const l = latency();
  put($('latency'), l.p50 === undefined ? '–' : ms(l.p50));
  put($('latency-sub'), l.p50 === undefined ? t(`latency.${l.why}`)
    : t(l.span ? 'latency.sub' : 'latency.since', { p95: ms(l.p95), p99: ms(l.p99), n: number(l.n), span: span(l.span) }));
  let [warm, cool] = [0, 0];
  for (const s of store.models.values()) {
    if (s.state === 'ready' || s.state === 'draining') s.warm ? warm++ : cool++;
  }
  put($('resident'), number(warm + cool) + t('inmemory.of', { n: number(m.available_models) }));
  put($('resident-sub'), t('inmemory.sub', { warm: number(warm), cool: number(cool) }));
  put($('queue'), number(m.queue.load + m.queue.memory));
  put($('queue-sub'), m.queue.load + m.queue.memory ? t('waiting.sub', m.queue) : t('waiting.none'));
}

const shown = 8;

function holders(m) {
  const all = [...store.models].map(([n, s]) => ({ n, s, sum: s.mapped_mb + s.private_mb })).filter((h) => h.sum > 0).sort((a, b) => b.sum - a.sum || (a.n < b.n ? -1 : 1));
  const max = Math.max(all[0]?.sum || 1, m.max_memory_mb / 20);
  const list = all.slice(0, shown);
  const key = JSON.stringify(list.map((h) => [h.n, h.s.mapped_mb, h.s.private_mb, label(h.n)])) + all.length;
  if ($('holders').dataset.key === key) return;
  $('holders').dataset.key = key;
  const lines = list.map((h) => {
    const [mapped, own] = [el('i'), el('i')];
    mapped.style.cssText = `width:${(100 * h.s.mapped_mb) / max}%;background:var(--mapped)`;
    own.style.cssText = `width:${(100 * h.s.private_mb) / max}%;background:var(--private)`;
    const detail = t('held.one', { mapped: mb(h.s.mapped_mb), private: mb(h.s.private_mb) });
    return el('li', { title: detail }, el('span', {}, label(h.n)), el('b', {}, `${mb(h.sum)} MB`, el('span', { className: 'sr' }, `: ${detail}`)), el('span', { className: 'track' }, mapped, own));
  });
  if (all.length > shown) {
    const rest = all.slice(shown).reduce((a, h) => a + h.sum, 0);
    lines.push(el('li', {}, el('span', {}, t('held.rest', { n: all.length - shown })), el('b', {}, `${mb(rest)} MB`)));
  }
  $('holders').replaceChildren(...(lines.length ? lines : [el('li', { className: 'empty' }, t('held.none'))]));
}

let newest;

function decisions() {
  const list = store.decisions.slice(0, 60);
  const key = `${list[0]?.seq} ${list.at(-1)?.seq} ${store.catalog.size}`;
  if (key === newest) return;
  newest = key;
  const lines = list.map((d) => el('li', {}, el('time', { dateTime: d.time }, time(d.at)), el('span', {}, sentence(d), el('span', { className: 'sub' }, detail(d)))));
  $('decisions').replaceChildren(...(lines.length ? lines : [el('li', { className: 'empty' }, t('decisions.none'))]));
}

// update shows what is known now.
export function update() {
  decisions();
  if (!store.memory) return;
  budget(store.memory);
  stats(store.memory);
  holders(store.memory);
  drawChart();
}
