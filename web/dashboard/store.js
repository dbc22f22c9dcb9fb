// What the page knows of the server, kept up to date by its events.

import { NoKey, Refused, json, stream } from './api.js';

const kept = { samples: 3700, decisions: 600, past: 600 };

// store is read by everybody and written here only.
export const store = {
  connection: 'connecting', // live, lost, closed: a key is needed
  why: '', // of lost, where the server said
  heard: 0, // when the server was heard last
  memory: null, // the last event's totals
  catalog: new Map(), // number -> {model_name, task, folder, ...}
  models: new Map(), // number -> state of those that were ever asked for
  samples: [], // {at, used, counted, max, ledger, unexplained}, one a second; null where the connection was lost
  past: [], // {at, counted} from transitions, also of before the page was opened
  decisions: [], // newest first
  requests: [], // {at, n}, of the last minute
};

const listeners = new Set();
let told = false;

// listen calls f after changes, at most once a frame.
export function listen(f) { listeners.add(f); }

export function changed() {
  if (told) return;
  told = true;
  const tell = () => { told = false; for (const f of listeners) f(); };
  if (document.hidden) setTimeout(tell, 1000); else requestAnimationFrame(tell);
}

// label is a model's name, with its folder where several have that name, unless said otherwise.
export function label(number, unique = true) {
  const [n, head] = String(number).split('/');
  const m = store.catalog.get(n);
  if (!m) return `#${number}`;
  const name = m.model_name || m.folder;
  return (m.shared && unique ? `${name} (${m.folder})` : name) + (head ? ` · ${head}` : '');
}

let fetching = null;

// fetchCatalog reads the list of models.
export function fetchCatalog() {
  fetching ??= json('api/v2/models').then((all) => {
    const names = new Map();
    for (const m of Object.values(all)) names.set(m.model_name, (names.get(m.model_name) || 0) + 1);
    for (const m of Object.values(all)) m.shared = names.get(m.model_name) > 1;
    store.catalog = new Map(Object.entries(all));
    changed();
  }).finally(() => { fetching = null; });
  return fetching;
}

const sum = (ledger) => Object.values(ledger).reduce((a, b) => a + b, 0);

let whole = true; // the next event tells of all models
let skew = 0; // what this machine's clock is ahead of the server's, in milliseconds

const moment = (text) => text && Date.parse(text) + skew;

// setModel takes a model's line as the server writes it.
export function setModel(number, m) {
  store.models.set(number, { ...m, last_used: moment(m.last_used), expires: moment(m.expires) });
}

function onMemory(d) {
  store.memory = d.memory;
  store.heard = Date.now();
  if (whole) store.models.clear();
  whole = false;
  for (const [number, m] of Object.entries(d.models)) {
    if (m === null) store.models.delete(number);
    else setModel(number, m);
  }
  if (d.memory.available_models !== store.catalog.size || Object.keys(d.models).some((n) => !store.catalog.has(n.split('/')[0]))) {
    fetchCatalog().catch(() => { /* asked for again with the next change */ });
  }
}

let seq = 0;

function onEvent({ name, data }) {
  store.heard = Date.now();
  if (name === 'memory') onMemory(data);
  if (name === 'transition' || name === 'decision' || name === 'model') {
    seq = data.seq;
    data.at = moment(data.time);
  }
  if (name === 'transition') {
    store.past.push({ at: data.at, counted: data.used_mb });
    if (store.past.length > kept.past) store.past.shift();
    const number = byFolder(data.folder, data.model_id);
    const was = store.models.get(number);
    if (was) store.models.set(number, { ...was, state: data.to, warm: data.to === 'ready' && (was.warm || was.state !== 'ready') });
  }
  if (name === 'model' && store.connection === 'live') fetchCatalog().catch(() => { /* with the next change */ });
  if (name === 'decision') {
    store.decisions.unshift(data);
    if (store.decisions.length > kept.decisions) store.decisions.pop();
  }
  changed();
}

// byFolder is the number of the model that an event names.
export function byFolder(id, index) {
  const head = id.split('/')[1];
  return head ? `${index}/${head}` : String(index);
}

// sample keeps what the chart shows, once a second.
function sample() {
  const m = store.memory;
  const now = Date.now();
  if (store.connection !== 'live' || !m) {
    if (store.samples.length && store.samples.at(-1) !== null) store.samples.push(null);
    return;
  }
  store.samples.push({ at: now, used: m.memory_used_mb, counted: sum(m.ledger_mb) + m.unexplained_mb, max: m.max_memory_mb, ledger: m.ledger_mb, unexplained: m.unexplained_mb });
  while (store.samples.length > kept.samples) store.samples.shift();
  store.requests.push({ at: now, n: m.request_count });
  while (store.requests[0].at < now - 60500 || store.requests[0].n > m.request_count) store.requests.shift();
  changed();
}

function setConnection(c, why = '') {
  store.connection = c;
  store.why = why;
  changed();
}

let wake = () => {};

// again tries to connect at once.
export function again() { wake(); }

const pause = (ms) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  wake = () => { clearTimeout(timer); done(); };
});

// follow keeps the page connected for as long as it is open.
export async function follow() {
  setInterval(sample, 1000);
  for (let failures = 0; ; failures++) {
    let wait = Math.min(10000, 500 * 2 ** failures);
    try {
      for await (const e of stream(`api/v2/events?memory=1&since=${seq}`)) {
        if (e.name === 'open') {
          failures = 0;
          whole = true;
          skew = Math.abs(Date.now() - e.data) > 2000 ? Date.now() - e.data : 0;
          await fetchCatalog();
          setConnection('live');
        } else {
          onEvent(e);
        }
      }
      setConnection('lost');
    } catch (e) {
      if (e instanceof NoKey) {
        setConnection('closed');
        wait = 1e9; // until the user asks for it
      } else if (e instanceof Refused && e.status === 403) {
        setConnection('closed', e.message);
        wait = 1e9;
      } else {
        setConnection('lost', e instanceof Refused ? e.message : '');
      }
    }
    await pause(wait);
  }
}
