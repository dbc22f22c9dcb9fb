// What the pool decided, in words.

import { mb, reason, t } from './i18n.js';
import { byFolder, label, store } from './store.js';

// verb is what was done: a model closed for the sake of others was evicted.
export const verb = (d) => (d.kind === 'closed' && /^(room for |over the budget)/.test(d.reason) ? 'evicted' : d.kind);

// sentence says what was decided and why.
export function sentence(d) {
  const why = d.reason.replace(/^room for ([^:]+)/, (all, id) => {
    const found = [...store.catalog].find(([, m]) => m.folder === id.split('/')[0]);
    return found ? `room for ${label(byFolder(id, found[0]))}` : all;
  });
  return `${t(`did.${verb(d)}`, { name: label(byFolder(d.folder, d.model_id)) })}${document.documentElement.lang === 'en' ? ': ' : '：'}${reason(why)}`;
}

// detail is what it gave or took, and who would have been next.
export function detail(d) {
  const parts = [];
  if (d.mb >= 0.05) parts.push(t({ loaded: 'took', refused: 'needed' }[d.kind] || 'gaveback', { mb: mb(d.mb) }));
  if (verb(d) === 'evicted' && d.spared?.length && !d.spared[0].why) parts.push(t('spared', { name: label(byFolder(d.spared[0].folder, d.spared[0].model_id)) }));
  return parts.join(document.documentElement.lang === 'en' ? '; ' : '；');
}
