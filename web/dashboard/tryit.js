// The page that sends a picture to a model and draws what comes back.

import { $, attr, el, put } from './dom.js';
import { ms, number, t } from './i18n.js';
import { NoKey, Refused, call, withKey } from './api.js';
import { label, store } from './store.js';
import { classColor, draw, shapes } from './draw.js';

let picture = null; // {blob, name, image, width, height}; image null where the browser cannot read it
let answer = null; // the last one
let asked = null; // what it was asked with
let language = 'curl';
let listed = '';
let turn = 0; // of requests: only the last one's answer is shown
let camera = null; // its stream

const task = () => {
  const name = (store.catalog.get($('model').value)?.task || '').toLowerCase();
  if (/semantic/.test(name)) return 'semantic';
  if (/cls|class/.test(name)) return 'classify';
  return 'objects';
};

// fields are the options of the request, as the forms of all three languages have them.
function fields() {
  const m = store.catalog.get($('model').value);
  const out = { model: m ? m.folder : $('model').value };
  if (task() === 'objects') Object.assign(out, { conf: Number($('conf').value), iou: Number($('iou').value) });
  if (task() === 'semantic') out.masks = 'rle';
  return out;
}

const quote = (s) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", "'\\''")}'`);

function showCode() {
  const url = new URL('api/v2/detect', document.baseURI.replace(/#.*/, '')).href;
  const name = picture?.name || 'picture.jpg';
  const f = Object.entries(fields());
  if (language === 'curl') {
    const key = withKey() ? '  -H "Authorization: Bearer $LAZYOLO_KEY" \\\n' : '';
    put($('code'), `curl ${quote(url)} \\\n${key}  -F ${quote(`file=@${name}`)}${f.map(([k, v]) => ` \\\n  -F ${quote(`${k}=${v}`)}`).join('')}`);
    return;
  }
  const key = withKey() ? '        headers={"Authorization": "Bearer " + os.environ["LAZYOLO_KEY"]},\n' : '';
  put($('code'), `${withKey() ? 'import os\n\n' : ''}import requests

with open(${JSON.stringify(name)}, "rb") as picture:
    answer = requests.post(
        ${JSON.stringify(url)},
${key}        files={"file": picture},
        data={${f.map(([k, v]) => `${JSON.stringify(k)}: ${JSON.stringify(v)}`).join(', ')}},
        timeout=120,
    )
answer.raise_for_status()
result = answer.json()
if "error" in result:
    raise RuntimeError(result["error"])
for found in result["predictions"]:
    print(found["class_name"], found${task() === 'semantic' ? '["pixel_ratio"]' : '["confidence"]'})`);
}

function shown() {
  const all = answer?.predictions || [];
  if (task() !== 'objects') return all;
  return all.filter((p) => !(p.confidence < Number($('conf').value)));
}

function showAnswer() {
  const list = shown();
  if (picture?.image) {
    draw($('canvas'), picture, list);
    attr($('canvas'), 'aria-label', t('canvas.label', { n: list.length, list: list.slice(0, 20).map((p) => p.class_name).join(', ') }));
  }
  if (!answer) return;
  put($('answer'), list.length ? t('found.n', { n: list.length }) : t('found.none'));
  $('found').replaceChildren(...list.slice(0, 300).map((p) => {
    const swatch = el('span', { className: 'swatch' });
    swatch.style.background = classColor(p.class_id);
    const value = p.pixel_ratio !== undefined ? t('share', { n: number(p.pixel_ratio * 100, 1) }) : `${number(p.confidence * 100, 0)} %`;
    return el('li', {}, swatch, el('span', {}, p.class_name), el('b', {}, value));
  }));
  const text = JSON.stringify({ ...answer, predictions: list }, (k, v) => (Array.isArray(v) && v.length > 60 && typeof v[0] === 'number' ? [...v.slice(0, 60), '…'] : v), 1);
  put($('json'), text.length > 60000 ? `${text.slice(0, 60000)}\n…` : text);
}

function showTook(res) {
  const took = Object.fromEntries((res.headers.get('Server-Timing') || '').split(', ').map((p) => p.split(';dur=')));
  if (!took.total) return put($('took'), '');
  const cold = res.headers.get('X-Model-Cold-Start') === 'true' ? t('took.cold', { load: ms(+took.load) }) : '';
  return put($('took'), t('took.all', { total: number(+took.total), run: ms(+took.run), decode: ms(+took.decode) }) + cold);
}

function fail(text) {
  answer = null;
  put($('answer'), text);
  $('answer').classList.add('bad');
  $('found').replaceChildren();
  put($('json'), '');
  put($('took'), '');
  if (picture?.image) draw($('canvas'), picture, []);
}

// run sends the picture to the model.
async function run() {
  if (!picture || !$('model').value) return;
  const mine = ++turn;
  asked = fields();
  const form = new FormData();
  form.append('file', picture.blob, picture.name);
  for (const [k, v] of Object.entries(asked)) form.append(k, v);
  if (!camera) put($('answer'), t('running'));
  $('answer').classList.remove('bad');
  try {
    const res = await call('api/v2/detect', { method: 'POST', body: form });
    const body = await res.json().catch(() => null);
    if (mine !== turn) return;
    if (!res.ok) throw new Refused(res.status, body);
    if (body.error) throw new Refused(res.status, { error: [body.error, res.headers.get('X-Error-Reason')].filter(Boolean).join(': ') });
    answer = body;
    showTook(res);
    showAnswer();
  } catch (e) {
    if (mine === turn && !(e instanceof NoKey)) fail(e instanceof TypeError ? t('err.net') : [e.message, e.hint].filter(Boolean).join(' · '));
  }
}

// take shows a new picture and runs the model on it.
async function take(blob, name) {
  let image = null;
  try { image = await createImageBitmap(blob); } catch { /* the server may read it all the same */ }
  picture?.image?.close();
  picture = { blob, name, image, width: image?.width, height: image?.height };
  answer = null;
  $('drop').hidden = Boolean(image);
  $('canvas').hidden = !image;
  if (!image) put($('drop').querySelector('.lead'), `${name}: ${t('pic.bad')}`);
  else draw($('canvas'), picture, []);
  showCode();
  await run();
}

function stopCamera() {
  for (const track of camera?.getTracks() || []) track.stop();
  camera = null;
  $('video').srcObject = null;
  $('video').hidden = true;
  put($('camera'), t('camera'));
}

async function useCamera() {
  if (camera) return stopCamera();
  if (!navigator.mediaDevices) return fail(t('camera.insecure'));
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 } } });
  } catch (e) {
    return fail(t('camera.denied', { why: e.message }));
  }
  const mine = camera;
  put($('camera'), t('camera.stop'));
  $('video').hidden = false;
  $('video').srcObject = camera;
  await $('video').play();
  const frame = document.createElement('canvas');
  while (camera === mine) { // one picture after the other, as fast as the model is
    [frame.width, frame.height] = [$('video').videoWidth, $('video').videoHeight];
    frame.getContext('2d').drawImage($('video'), 0, 0);
    const blob = await new Promise((done) => frame.toBlob(done, 'image/jpeg', 0.9));
    const began = performance.now();
    await take(blob, 'camera.jpg');
    await new Promise((done) => setTimeout(done, Math.max(answer ? 0 : 1000, 40 - (performance.now() - began))));
  }
  return undefined;
}

let later = 0;

// slide answers a moved slider: what can be left out is at once, the rest is asked for.
function slide(e) {
  put($('conf-out'), number(+$('conf').value, 2));
  put($('iou-out'), number(+$('iou').value, 2));
  showCode();
  clearTimeout(later);
  if (!picture) return;
  if (e?.target === $('conf') && answer && asked?.conf <= Number($('conf').value)) return void showAnswer();
  later = setTimeout(run, 250);
}

function chosen() {
  const kind = task();
  $('conf').disabled = $('iou').disabled = kind !== 'objects';
  put($('form-hint'), kind === 'objects' ? '' : t(`form.${kind}`));
  showCode();
  answer = null;
  run();
}

// choose selects the model of a folder.
export function choose(folder) {
  const found = [...store.catalog].find(([, m]) => m.folder === folder);
  if (found && $('model').value !== found[0]) {
    $('model').value = found[0];
    chosen();
  }
}

const isPicture = (f) => f && (f.type.startsWith('image/') || /\.(jpe?g|png|webp|bmp|gif|tiff?)$/i.test(f.name));

// open makes what does not change.
export function open() {
  slide();
  put($('answer'), t('found.first'));
  showCode();
  $('file').addEventListener('change', () => { const [f] = $('file').files; $('file').value = ''; if (f) { stopCamera(); take(f, f.name); } });
  $('sample').addEventListener('click', async () => { stopCamera(); take(await shapes(), 'shapes.png'); });
  $('camera').addEventListener('click', useCamera);
  $('model').addEventListener('change', chosen);
  $('conf').addEventListener('input', slide);
  $('iou').addEventListener('input', slide);
  const stage = $('stage');
  for (const on of ['dragenter', 'dragover']) stage.addEventListener(on, (e) => { e.preventDefault(); stage.classList.add('over'); });
  for (const on of ['dragleave', 'drop']) stage.addEventListener(on, () => stage.classList.remove('over'));
  for (const on of ['dragover', 'drop']) addEventListener(on, (e) => e.preventDefault()); // a missed drop does not leave the page
  stage.addEventListener('drop', (e) => { const f = [...e.dataTransfer.files].find(isPicture); if (f) { stopCamera(); take(f, f.name); } });
  addEventListener('paste', (e) => { const f = [...(e.clipboardData?.files || [])].find(isPicture); if (f && location.hash.startsWith('#/try')) { stopCamera(); take(f, f.name || 'pasted.png'); } });
  for (const l of ['curl', 'python']) {
    $(`as-${l}`).addEventListener('click', () => {
      language = l;
      for (const x of ['curl', 'python']) attr($(`as-${x}`), 'aria-pressed', String(x === l));
      showCode();
    });
  }
  $('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText($('code').textContent);
    } catch { // only pages under https may: the browser's older way
      getSelection().selectAllChildren($('code'));
      document.execCommand('copy');
    }
    put($('copy'), t('copied'));
    setTimeout(() => put($('copy'), t('copy')), 1500);
  });
}

// close lets the camera go when another page is shown.
export function close() { stopCamera(); }

// update keeps the list of models.
export function update() {
  const options = [...store.catalog].map(([n, m]) => [n, `${label(n)}${m.task ? ` · ${m.task}` : ''}`]);
  const key = JSON.stringify(options);
  if (key === listed) return;
  listed = key;
  const was = $('model').value;
  $('model').replaceChildren(...options.map(([value, text]) => el('option', { value }, text)));
  if (was && store.catalog.has(was)) $('model').value = was;
  const wanted = new URLSearchParams(location.hash.split('?')[1]).get('model');
  if (wanted && !was) choose(wanted);
  if ($('model').value !== was) chosen();
}
