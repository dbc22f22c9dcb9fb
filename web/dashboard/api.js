// Calls of the server: the key that may be needed, and streams of events.

import { t } from './i18n.js';

const stored = 'lazyolo-key';
let key = '';
try { key = sessionStorage.getItem(stored) || ''; } catch { /* no storage: kept in this page only */ }

// withKey says whether calls carry a key.
export const withKey = () => key !== '';

// A Refused is an answer that is no success.
export class Refused extends Error {
  constructor(status, body) {
    const b = body && typeof body === 'object' ? body : {};
    const detail = Array.isArray(b.detail) ? b.detail.map((d) => `${(d.loc || []).slice(1).join('.')}: ${d.msg}`).join('; ') : b.detail;
    super(b.error || detail || t('err.status', { status }));
    this.status = status;
    this.hint = b.hint || '';
  }
}

// NoKey means that the user would not enter one.
export class NoKey extends Error {}

let asking = null;

// ask has the user enter a key; calls that come meanwhile wait for the same one.
export function ask(bad = false) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.getElementById('key');
    const input = document.getElementById('key-input');
    document.getElementById('key-bad').textContent = bad ? t('key.bad') : '';
    input.value = '';
    let entered = false;
    document.getElementById('key-no').onclick = () => dialog.close();
    document.getElementById('key-form').onsubmit = () => {
      entered = true;
      key = input.value.trim();
      try { sessionStorage.setItem(stored, key); } catch { /* kept in this page only */ }
    };
    dialog.onclose = () => {
      asking = null;
      if (entered) resolve(); else reject(new NoKey('no key'));
    };
    dialog.showModal();
    input.focus();
  });
  return asking;
}

// call is fetch with the key, which is asked for where the server wants one.
export async function call(path, options = {}) {
  for (;;) {
    const headers = new Headers(options.headers);
    const sent = key;
    if (sent) headers.set('Authorization', `Bearer ${sent}`);
    const res = await fetch(path, { ...options, headers, cache: 'no-store' });
    if (res.status !== 401) return res;
    await res.body?.cancel();
    if (sent === key) await ask(sent !== ''); // otherwise another call has asked meanwhile
  }
}

// body reads an answer as JSON, or as nothing where it is none.
async function body(res) {
  try { return await res.json(); } catch { return null; }
}

// json calls and returns the answer's JSON; anything but a success is a Refused.
export async function json(path, options) {
  const res = await call(path, options);
  const b = await body(res);
  if (!res.ok) throw new Refused(res.status, b);
  return b;
}

// quietly long a stream may be before it counts as dead; the server sends a comment every 15 s.
const silence = 40000;

// stream yields a stream of server-sent events as {name, data}; the first, open, has the server's time.
export async function* stream(path) {
  const abort = new AbortController();
  const res = await call(path, { signal: abort.signal, headers: { Accept: 'text/event-stream' } });
  if (!res.ok) throw new Refused(res.status, await body(res));
  yield { name: 'open', data: Date.parse(res.headers.get('Date')) };
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let dead = setTimeout(() => abort.abort(), silence);
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(dead);
      dead = setTimeout(() => abort.abort(), silence);
      const frames = (rest + value).split('\n\n');
      rest = frames.pop();
      for (const f of frames) {
        const e = { name: 'message', data: '' };
        for (const line of f.split('\n')) {
          if (line.startsWith('event: ')) e.name = line.slice(7);
          if (line.startsWith('data: ')) e.data += line.slice(6);
        }
        if (e.data) yield { name: e.name, data: JSON.parse(e.data) };
      }
    }
  } finally {
    clearTimeout(dead);
    abort.abort();
  }
}
