// Quantiles of how long inferences take, from the server's histograms in /metrics.

import { call } from './api.js';
import { changed, store } from './store.js';

const every = 10000; // between looks
const over = 300000; // the time that quantiles are of
const name = 'lazyolo_inference_duration_seconds_bucket';

let why = ''; // there are no looks; empty: none was taken yet
let looks = []; // {at, buckets: Map of upper bound -> how many took at most so long}

// parse reads the histogram, of all models together, from Prometheus' text format.
export function parse(text) {
  const buckets = new Map();
  for (const line of text.split('\n')) {
    if (!line.startsWith(name)) continue;
    const m = /[{,]le="([^"]+)"\}\s+(\S+)/.exec(line); // le comes last
    if (!m || Number.isNaN(Number(m[2]))) continue;
    const [le, value] = [m[1] === '+Inf' ? Infinity : Number(m[1]), Number(m[2])];
    buckets.set(le, (buckets.get(le) || 0) + value);
  }
  return buckets;
}

// quantile is where the share q of all lies, in seconds, as Prometheus reckons it.
export function quantile(q, buckets) {
  const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
  const total = sorted.at(-1)?.[1] || 0;
  if (!total) return undefined;
  let [low, below] = [0, 0];
  for (const [bound, upTo] of sorted) {
    if (upTo >= q * total) {
      if (bound === Infinity) return low;
      return upTo === below ? bound : low + ((bound - low) * (q * total - below)) / (upTo - below);
    }
    [low, below] = [bound, upTo];
  }
  return low;
}

// latency is {p50, p95, p99} in milliseconds of n answers in span seconds; without a
// span since the server started, without p50 not known, and why.
export function latency() {
  const [first, last] = [looks[0], looks.at(-1)];
  if (!last) return { why: why || (store.memory?.metrics ? 'none' : 'off') };
  let buckets = new Map([...last.buckets].map(([le, n]) => [le, n - (first.buckets.get(le) || 0)]));
  let span = (last.at - first.at) / 1000;
  if (!buckets.get(Infinity)) [buckets, span] = [last.buckets, 0];
  const n = buckets.get(Infinity) || 0;
  if (!n) return { why: 'none' };
  const of = (q) => 1000 * quantile(q, buckets);
  return { p50: of(0.5), p95: of(0.95), p99: of(0.99), n, span };
}

// look reads /metrics once and says whether it is there.
async function look() {
  const res = await call('metrics');
  if (!res.ok) {
    await res.body?.cancel();
    looks = [];
    why = res.status === 403 ? 'denied' : 'off';
    return false;
  }
  const [at, buckets] = [Date.now(), parse(await res.text())];
  if (looks.length && (looks.at(-1).buckets.get(Infinity) || 0) > (buckets.get(Infinity) || 0)) looks = []; // it started anew
  looks.push({ at, buckets });
  while (looks[0].at < at - over) looks.shift();
  changed();
  return true;
}

// watch looks from time to time, while wanted says so; a server without metrics is
// asked only now and then.
export async function watch(wanted) {
  for (;;) {
    let pause = every;
    if (wanted() && store.memory?.metrics) {
      try {
        if (!await look()) pause = over;
      } catch { /* not connected, or no key: later */ }
    } else {
      pause = 1000;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}
