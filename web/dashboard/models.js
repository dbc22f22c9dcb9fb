// The table of models. Only the rows in sight exist, so that a thousand models cost
// no more than twenty.

import { $, attr, el, put } from './dom.js';
import { mb, ms, number, span, t } from './i18n.js';
import { NoKey, json } from './api.js';
import { label, setModel, store } from './store.js';

const absent = { state: 'unloaded', warm: false, pinned: false, mapped_mb: 0, private_mb: 0, hits: 0, loads: 0, load_ms: 0, last_used: null, expires: null };
const order = ['warm', 'cool', 'draining', 'loading', 'queued', 'failed', 'unloaded'];
const columns = [
  { id: 'name', up: true, by: (m) => m.sort },
  { id: 'task', up: true, by: (m) => m.task },
  { id: 'state', up: true, by: (m) => order.indexOf(m.is) },
  { id: 'mb', num: true, by: (m) => m.s.mapped_mb + m.s.private_mb },
  { id: 'used', num: true, by: (m) => m.s.last_used || 0 },
  { id: 'hits', num: true, by: (m) => m.s.hits },
  { id: 'load', num: true, by: (m) => m.s.load_ms },
  { id: 'exp', num: true, up: true, by: (m) => (m.s.pinned ? Infinity : m.s.expires || 1e15) },
];
const sorted = { by: columns[0], up: true };
let list = []; // what is shown, in order
const rows = new Map(); // number -> its row
const busy = new Map(); // folder -> what is being done
const collator = new Intl.Collator(undefined, { numeric: true });

function all() {
  const out = [];
  const add = (n, m, s) => {
    const is = s.state === 'ready' ? (s.warm ? 'warm' : 'cool') : s.state;
    out.push({ n, s, is, folder: m.folder, name: label(n), plain: label(n, false), task: m.task || '', sort: `${m.model_name || m.folder}\u0000${m.folder}`, text: `${m.model_name} ${m.folder} ${m.task} ${t(`state.${is}`)} ${m.description || ''}`.toLowerCase() });
  };
  for (const [n, m] of store.catalog) add(n, m, store.models.get(n) || absent);
  for (const [n, s] of store.models) {
    const m = store.catalog.get(n.split('/')[0]);
    if (n.includes('/') && m) add(n, m, s);
  }
  return out;
}

const inMemory = (m) => m.is === 'warm' || m.is === 'cool' || m.is === 'draining';
const filters = { '': () => true, in: inMemory, pinned: (m) => m.s.pinned, failed: (m) => m.is === 'failed' };

// choose makes the list anew. While somebody points at a row or is in it, rows keep
// their places.
function choose(force) {
  const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  const every = all();
  const wanted = every.filter((m) => filters[$('filter').value](m) && words.every((w) => m.text.includes(w)));
  const { by, up } = sorted;
  wanted.sort((a, b) => {
    const [x, y] = [by.by(a), by.by(b)];
    const c = typeof x === 'string' ? collator.compare(x, y) : x - y;
    return (up ? c : -c) || collator.compare(a.sort, b.sort);
  });
  if (!force && $('rows').matches(':hover, :focus-within')) {
    const place = new Map(list.map((m, i) => [m.n, i]));
    wanted.sort((a, b) => (place.get(a.n) ?? 1e9) - (place.get(b.n) ?? 1e9));
  }
  list = wanted;
  put($('count'), wanted.length === every.length ? t(every.length === 1 ? 'count.one' : 'count', { n: number(every.length) }) : t('count.of', { shown: number(wanted.length), n: number(every.length) }));
  $('none').hidden = wanted.length > 0 || !store.memory;
  put($('none'), t(every.length ? 'models.none' : 'models.empty'));
  attr($('table'), 'aria-rowcount', wanted.length + 1);
}

// make makes a row for any model.
function make() {
  const cell = (id, ...children) => el('td', { role: 'cell', className: `c-${id}${columns.find((c) => c.id === id)?.num ? ' num' : ''}` }, ...children);
  const r = {
    name: el('span', { className: 'name' }), sub: el('span', { className: 'sub' }), task: cell('task'), state: el('span', { className: 'state' }), more: el('span', { className: 'sub' }),
    mb: cell('mb'), used: cell('used'), hits: cell('hits'), load: cell('load'), exp: cell('exp'),
    doLoad: el('button', { type: 'button' }), doPin: el('button', { type: 'button' }), doTry: el('a', {}, t('tryone')),
  };
  for (const id of ['mb', 'used', 'hits']) r[id].dataset.label = t(`col.${id}`);
  r.doLoad.addEventListener('click', () => act(r.m, inMemory(r.m) ? 'unload' : 'load'));
  r.doPin.addEventListener('click', () => act(r.m, r.m.s.pinned ? 'unpin' : 'pin'));
  r.row = el('tr', { role: 'row', className: 'model' }, cell('name', r.name, r.sub), r.task, cell('state', r.state, r.more), r.mb, r.used, r.hits, r.load, r.exp,
    cell('do', el('div', { className: 'do' }, r.doTry, r.doLoad, r.doPin)));
  return r;
}

const ago = (at) => (at ? (Date.now() - at < 1500 ? t('now') : t('ago', { t: span((Date.now() - at) / 1000) })) : t('never'));

function until(m) {
  if (m.s.pinned) return t('pinned');
  if (!m.s.expires || !inMemory(m)) return '–';
  return m.s.expires - Date.now() < 1000 ? t('soon') : t('in', { t: span((m.s.expires - Date.now()) / 1000) });
}

function button(b, m, what, name) {
  const doing = busy.get(m.folder);
  put(b, doing === what ? t('busy') : t(what));
  attr(b, 'aria-label', `${t(what)}: ${name}`);
  attr(b, 'aria-disabled', doing ? 'true' : null); // not disabled: the focus would be lost
}

function fill(r, m, i) {
  if (r.m?.folder !== m.folder) r.doTry.href = `#/try?model=${encodeURIComponent(m.folder)}`;
  r.m = m;
  attr(r.row, 'aria-rowindex', i + 2);
  put(r.name, m.plain);
  attr(r.name, 'title', m.name);
  put(r.sub, m.s.error || m.folder);
  attr(r.sub, 'title', m.s.error || m.folder);
  r.sub.classList.toggle('bad', Boolean(m.s.error));
  put(r.task, m.task);
  put(r.state, t(`state.${m.is}`));
  attr(r.state, 'data-is', m.is);
  put(r.more, [m.s.pinned && t('pinned'), m.s.speculative && t('guess')].filter(Boolean).join(', '));
  put(r.mb, inMemory(m) || m.s.mapped_mb + m.s.private_mb > 0 ? `${mb(m.s.mapped_mb + m.s.private_mb)} MB` : '–');
  put(r.used, ago(m.s.last_used));
  put(r.hits, number(m.s.hits));
  put(r.load, m.s.loads ? ms(m.s.load_ms) : '–');
  put(r.exp, until(m));
  attr(r.doTry, 'aria-label', `${t('tryone')}: ${m.name}`);
  button(r.doLoad, m, inMemory(m) ? 'unload' : 'load', m.name);
  button(r.doPin, m, m.s.pinned ? 'unpin' : 'pin', m.name);
}

const gaps = [0, 1].map(() => el('tr', { className: 'gap', 'aria-hidden': 'true' }, el('td', { colSpan: columns.length + 1 })));

const step = 8; // rows come and go in groups: each time the whole table is laid out
let painted = '';

// paint shows the rows in sight; while scrolling nothing, if they are there already.
function paint(scrolling = false) {
  const scroll = $('scroll');
  const height = parseFloat(getComputedStyle(scroll).getPropertyValue('--row'));
  const from = Math.max(0, Math.floor(scroll.scrollTop / height / step - 0.5) * step);
  const to = Math.min(list.length, from + Math.ceil(scroll.clientHeight / height / step + 1.5) * step);
  const range = `${from} ${to}`;
  if (scrolling && range === painted) return;
  painted = range;
  const body = $('rows');
  const keep = new Set();
  for (let i = from; i < to; i++) keep.add(list[i].n);
  const free = []; // rows that others can have
  for (const [n, r] of rows) {
    if (keep.has(n)) continue;
    if (r.row.contains(document.activeElement)) scroll.focus({ preventScroll: true });
    free.push(r);
    rows.delete(n);
  }
  gaps[0].firstChild.style.height = `${from * height}px`;
  gaps[1].firstChild.style.height = `${(list.length - to) * height}px`;
  if (gaps[0].parentNode !== body) body.append(gaps[0], gaps[1]);
  let at = gaps[0];
  for (let i = from; i < to; i++) {
    const m = list[i];
    let r = rows.get(m.n);
    if (!r) rows.set(m.n, r = free.pop() || make());
    fill(r, m, i);
    if (at.nextSibling !== r.row) at.after(r.row);
    at = r.row;
  }
  for (const r of free) r.row.remove();
}

function say(text, bad = false) {
  put($('said'), text);
  $('said').classList.toggle('bad', bad);
}

async function act(m, what) {
  if (busy.has(m.folder)) return;
  busy.set(m.folder, what);
  say(t('said.wait', { name: m.name }));
  paint();
  try {
    const s = await json(`api/v2/models/${encodeURIComponent(m.folder)}/${what}`, { method: 'POST' });
    setModel(m.n, s);
    say(t(`said.${what}`, { name: m.name }));
  } catch (e) {
    const why = e instanceof TypeError ? t('err.net') : [e.message, e.hint].filter(Boolean).join(' · ');
    say(e instanceof NoKey ? '' : t('said.bad', { name: m.name, why }), true);
  }
  busy.delete(m.folder);
  update();
}

function sortBy(c, up) {
  sorted.by = c;
  sorted.up = up;
  for (const th of $('heads').children) {
    if (th.dataset.id === c.id) th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    else th.removeAttribute('aria-sort');
  }
  $('sort').value = c.id;
  $('scroll').scrollTop = 0;
  choose(true);
  paint();
}

// open makes what does not change.
export function open() {
  for (const c of columns) {
    const b = el('button', { type: 'button' }, t(`col.${c.id}`));
    b.addEventListener('click', () => sortBy(c, sorted.by === c ? !sorted.up : Boolean(c.up)));
    const th = el('th', { role: 'columnheader', scope: 'col', className: `c-${c.id}${c.num ? ' num' : ''}` }, b);
    th.dataset.id = c.id;
    $('heads').append(th);
    $('sort').append(el('option', { value: c.id }, t(`col.${c.id}`)));
  }
  $('heads').append(el('th', { role: 'columnheader', scope: 'col', className: 'c-do' }, el('span', { className: 'sr' }, t('col.do'))));
  $('sort').addEventListener('change', () => { const c = columns.find((x) => x.id === $('sort').value); sortBy(c, Boolean(c.up)); });
  for (const id of ['search', 'filter']) $(id).addEventListener('input', () => { $('scroll').scrollTop = 0; choose(true); paint(); });
  let waits = false;
  $('scroll').addEventListener('scroll', () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; paint(true); });
  }, { passive: true });
  new ResizeObserver(() => paint()).observe($('scroll'));
  for (const s of ['warm', 'cool', 'unloaded', 'queued', 'loading', 'draining', 'failed']) $('states').append(el('dt', {}, el('span', { className: 'state', 'data-is': s }, t(`state.${s}`))), el('dd', {}, t(`why.${s}`)));
  $('states').append(el('dt', {}, t('pinned')), el('dd', {}, t('why.pinned')));
  sortBy(columns[0], true);
}

// update shows what is known now.
export function update() {
  choose(false);
  paint();
}
