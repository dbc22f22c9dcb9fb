// Starts the page and shows the part that the address names.

import { $, attr, put } from './dom.js';
import { t, time, translate } from './i18n.js';
import { ask } from './api.js';
import { again, follow, listen, store } from './store.js';
import * as overview from './overview.js';
import { openChart } from './chart.js';
import * as models from './models.js';
import * as tryit from './tryit.js';
import { watch } from './metrics.js';

const pages = { overview, models, try: tryit };
let page = '';

function show() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const name = path in pages ? path : 'overview';
  if (page !== name) {
    pages[page]?.close?.();
    for (const p of Object.keys(pages)) $(p).hidden = p !== name;
    for (const a of document.querySelectorAll('[data-page]')) attr(a, 'aria-current', a.dataset.page === name ? 'page' : null);
    document.title = `${t(name)} · lazyolo`;
    if (page) { // a change, not the first page
      scrollTo(0, 0);
      $('main').focus({ preventScroll: true });
    }
    page = name;
  }
  pages[page].update();
  const folder = new URLSearchParams(query).get('model');
  if (page === 'try' && folder) tryit.choose(folder);
}

function connection() {
  attr($('conn'), 'data-is', store.connection);
  put($('conn-text'), t(store.connection));
  let text = '';
  if (store.connection === 'closed') text = store.why ? t('notice.forbidden', { why: store.why }) : t('notice.key');
  else if (store.connection === 'lost' && store.why) text = store.why;
  else if (store.connection === 'lost') text = store.heard ? t('notice.lost', { when: time(store.heard) }) : t('notice.lost0');
  put($('notice-text'), text);
  $('notice').hidden = !text;
  $('notice-do').hidden = store.connection !== 'closed';
  put($('notice-do'), t('notice.enter'));
}

translate();
overview.open();
openChart();
models.open();
tryit.open();
$('skip').addEventListener('click', (e) => { e.preventDefault(); $('main').focus(); });
$('notice-do').addEventListener('click', () => ask().then(again, () => {}));
addEventListener('hashchange', show);
listen(() => {
  connection();
  pages[page].update();
});
show();
document.documentElement.classList.remove('boot');
watch(() => page === 'overview' && !document.hidden && store.connection === 'live');
follow();
