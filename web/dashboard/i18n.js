// The words of the page in English and Chinese, and how numbers and times are written.

const en = {
  skip: 'Skip to content', nav: 'Pages', overview: 'Overview', models: 'Models', try: 'Try it', api: 'API',
  connecting: 'Connecting', live: 'Live', lost: 'No connection', closed: 'A key is needed',
  'notice.lost': 'The server does not answer. What you see is as of {when}; the page goes on trying.',
  'notice.lost0': 'The server does not answer yet; the page goes on trying.',
  'notice.key': 'This server asks for a key.', 'notice.enter': 'Enter the key',
  'notice.forbidden': 'This key may not see this: {why}', 'notice.degraded': 'The server cannot run models at the moment; its log says why.',
  memory: 'Memory', 'memory.of': 'of {max} MB set aside or in use', 'memory.nolimit': 'in use',
  'memory.hint': 'Resident now: {used} MB (black line). The colours count at full size what may be touched, so they reach further. Free for more: {free} MB.',
  'memory.hint.dark': 'Resident now: {used} MB (white line). The colours count at full size what may be touched, so they reach further. Free for more: {free} MB.',
  'memory.bar': 'Of a budget of {max} MB, {counted} MB are set aside or in use: {parts}.',
  'kind.base': 'Program and reserve', 'kind.bodies': 'Uploads, set aside', 'kind.mapped': 'Weights in memory', 'kind.private': 'Open models',
  'kind.working': 'Pictures in work', 'kind.running': 'Running models', 'kind.loading': 'Being loaded', 'kind.preparing': 'Being prepared', 'kind.unexplained': 'Not explained',
  requests: 'Requests', 'requests.rate': '{n}/s', 'requests.minute': 'in the last minute; {n} since the server started', 'requests.short': 'in the last {s} s; {n} since the server started', 'requests.none': '{n} since the server started',
  latency: 'Latency', 'latency.sub': 'median; p95 {p95}, p99 {p99}; {n} answers in {span}', 'latency.since': 'median since the start; p95 {p95}, p99 {p99}',
  'latency.none': 'No answers yet', 'latency.off': 'Shown when the server offers /metrics', 'latency.denied': 'This key may not read /metrics',
  inmemory: 'Models in memory', 'inmemory.of': ' of {n}', 'inmemory.sub': '{warm} ready at once, {cool} read their weights back first',
  waiting: 'Waiting', 'waiting.none': 'Nobody waits', 'waiting.sub': '{load} for a model, {memory} for memory',
  timeline: 'Memory over time', range: 'Time shown', minutes: '{n} min', hour: '1 h',
  'chart.none': 'Move over the chart for its numbers', 'chart.at': '{time}: {counted} MB counted', 'chart.used': ', {used} MB resident', 'chart.label': 'Memory of the last {n} minutes: now {counted} MB counted of {max} MB, highest {peak} MB. {events} loads and evictions.',
  'series.counted': 'Counted', 'series.resident': 'Resident', 'series.budget': 'Budget', 'group.base': 'Program and uploads', 'group.weights': 'Weights', 'group.sessions': 'Open models', 'group.work': 'Work', 'group.loading': 'Loading', 'group.unexplained': 'Not explained',
  'mark.loaded': 'Loaded', 'mark.closed': 'Evicted or closed', 'mark.cooled': 'Cooled', 'mark.refused': 'Refused',
  held: 'What models hold', 'held.none': 'No model is in memory. The first request for one loads it.', 'held.rest': '{n} more', 'held.one': '{mapped} MB weights, {private} MB beside them',
  decisions: 'Last decisions', 'decisions.none': 'Nothing was loaded or evicted yet.', gaveback: 'gave back {mb} MB', took: 'takes {mb} MB', needed: '{mb} MB missing',
  'did.loaded': 'Loaded {name}', 'did.evicted': 'Evicted {name}', 'did.closed': 'Closed {name}', 'did.cooled': 'Cooled {name}', 'did.refused': 'Refused {name}', spared: 'would have been next: {name}',
  search: 'Search models', show: 'Show', sort: 'Sort by', 'filter.all': 'All models', 'filter.in': 'In memory', 'filter.pinned': 'Pinned', 'filter.failed': 'Failed',
  count: '{n} models', 'count.one': '1 model', 'count.of': '{shown} of {n} models', 'models.none': 'No model matches.', 'models.empty': 'This server has no models.',
  'col.name': 'Model', 'col.task': 'Task', 'col.state': 'State', 'col.mb': 'Memory', 'col.used': 'Last use', 'col.hits': 'Hits', 'col.load': 'Load time', 'col.exp': 'Expires', 'col.do': 'Actions',
  never: 'never', ago: '{t} ago', in: 'in {t}', now: 'now', pinned: 'pinned', soon: 'soon',
  load: 'Load', unload: 'Unload', pin: 'Pin', unpin: 'Unpin', tryone: 'Try', busy: '…',
  'said.load': '{name} is loaded.', 'said.unload': '{name} is out of memory.', 'said.pin': '{name} stays in memory.', 'said.unpin': '{name} may leave memory again.', 'said.wait': '{name}: working …', 'said.bad': '{name}: {why}',
  'state.warm': 'ready', 'state.cool': 'ready, cool', 'state.unloaded': 'not loaded', 'state.queued': 'waits for room', 'state.loading': 'loading', 'state.draining': 'closing', 'state.failed': 'failed', guess: 'ahead of use',
  states: 'What the states mean',
  'why.warm': 'In memory; a request runs at once.', 'why.cool': 'Open, but its weights were given back; a request reads them from the file first, which takes some milliseconds.',
  'why.unloaded': 'Takes no memory. The first request loads it.', 'why.queued': 'A request asked for it; it waits until there is room.', 'why.loading': 'Being read, and prepared if it is new.',
  'why.draining': 'Finishes its requests, then gives its memory back.', 'why.failed': 'Could not be loaded; the line below its name says why. It is tried again.', 'why.pinned': 'Never cooled and never closed to make room.',
  drop: 'Drop a picture here', 'drop.more': 'or choose a file, paste one, use the camera, or have some shapes drawn. It goes to this server only.', choose: 'Choose a picture', camera: 'Use the camera', 'camera.stop': 'Stop the camera', sample: 'Draw shapes',
  'camera.insecure': 'A browser gives the camera only to pages under https or localhost.', 'camera.denied': 'The camera could not be opened: {why}',
  model: 'Model', conf: 'Lowest confidence', iou: 'Overlap allowed (IoU)', 'form.classify': 'Thresholds have no effect on classification.', 'form.semantic': 'Thresholds have no effect on semantic segmentation.',
  found: 'Found', 'found.none': 'Nothing found. Lower the confidence, or try another picture.', 'found.n': '{n} found', 'found.first': 'Results appear here.', running: 'Running …', 'share': '{n} % of the picture',
  'took.all': '{total} ms: model {run}, picture {decode}', 'took.cold': ', load {load}', 'pic.bad': 'This browser cannot show the picture; the server may read it all the same.',
  'canvas.label': 'Picture with {n} results drawn: {list}',
  code: 'The same from your program', copy: 'Copy', copied: 'Copied', json: 'The answer as JSON',
  footer: 'Served by lazyolo itself; nothing on this page comes from anywhere else.',
  key: 'Key', 'key.title': 'This server asks for a key', 'key.text': 'It is kept in this tab only, and sent to this server only.', 'key.go': 'Continue', 'key.no': 'Not now', 'key.bad': 'The server does not know this key.',
  'unit.s': '{n} s', 'unit.min': '{n} min', 'unit.h': '{n} h', 'unit.d': '{n} d', 'err.net': 'the server does not answer', 'err.status': 'the server answered {status}',
};

const zh = {
  skip: '跳到内容', nav: '页面', overview: '总览', models: '模型', try: '试一试', api: '接口文档',
  connecting: '正在连接', live: '实时', lost: '连接断开', closed: '需要密钥',
  'notice.lost': '服务器没有响应。下面是 {when} 时的情况，页面会继续重试。', 'notice.lost0': '服务器还没有响应，页面会继续重试。',
  'notice.key': '此服务器需要密钥。', 'notice.enter': '输入密钥', 'notice.forbidden': '这个密钥无权查看：{why}', 'notice.degraded': '服务器目前无法运行模型，原因见日志。',
  memory: '内存', 'memory.of': 'MB 已占用或预留，预算 {max} MB', 'memory.nolimit': '已占用',
  'memory.hint': '常驻内存：{used} MB（黑线）。彩色部分按可能用到的最大值计算，所以更长。还可用：{free} MB。', 'memory.hint.dark': '常驻内存：{used} MB（白线）。彩色部分按可能用到的最大值计算，所以更长。还可用：{free} MB。',
  'memory.bar': '预算 {max} MB，其中 {counted} MB 已占用或预留：{parts}。',
  'kind.base': '程序与余量', 'kind.bodies': '为上传预留', 'kind.mapped': '内存中的权重', 'kind.private': '已打开的模型', 'kind.working': '处理中的图片', 'kind.running': '正在运行的模型', 'kind.loading': '正在加载', 'kind.preparing': '正在准备', 'kind.unexplained': '未能归类',
  requests: '请求', 'requests.rate': '{n} 次/秒', 'requests.minute': '最近一分钟；启动以来共 {n} 次', 'requests.short': '最近 {s} 秒；启动以来共 {n} 次', 'requests.none': '启动以来共 {n} 次',
  latency: '延迟', 'latency.sub': '中位数；p95 {p95}，p99 {p99}；{span}内 {n} 次回答', 'latency.since': '启动以来的中位数；p95 {p95}，p99 {p99}', 'latency.none': '还没有回答过请求', 'latency.off': '服务器提供 /metrics 时显示', 'latency.denied': '这个密钥无权读取 /metrics',
  inmemory: '内存中的模型', 'inmemory.of': ' / {n}', 'inmemory.sub': '{warm} 个可立即运行，{cool} 个需先读回权重',
  waiting: '等待', 'waiting.none': '没有请求在等待', 'waiting.sub': '{load} 个等模型，{memory} 个等内存',
  timeline: '内存变化', range: '显示时长', minutes: '{n} 分钟', hour: '1 小时',
  'chart.none': '把指针移到图上可查看数值', 'chart.at': '{time}：计入 {counted} MB', 'chart.used': '，常驻内存 {used} MB', 'chart.label': '最近 {n} 分钟的内存：现在计入 {counted} MB，预算 {max} MB，最高 {peak} MB。加载与移出 {events} 次。',
  'series.counted': '计入', 'series.resident': '常驻内存', 'series.budget': '预算', 'group.base': '程序与上传', 'group.weights': '权重', 'group.sessions': '已打开的模型', 'group.work': '处理请求', 'group.loading': '加载', 'group.unexplained': '未能归类',
  'mark.loaded': '加载', 'mark.closed': '移出或关闭', 'mark.cooled': '冷却', 'mark.refused': '拒绝',
  held: '各模型占用', 'held.none': '内存中没有模型。第一个请求到来时才会加载。', 'held.rest': '另外 {n} 个', 'held.one': '权重 {mapped} MB，其他 {private} MB',
  decisions: '最近的决定', 'decisions.none': '还没有加载或移出过模型。', gaveback: '归还 {mb} MB', took: '占用 {mb} MB', needed: '还差 {mb} MB',
  'did.loaded': '加载 {name}', 'did.evicted': '移出 {name}', 'did.closed': '关闭 {name}', 'did.cooled': '冷却 {name}', 'did.refused': '拒绝 {name}', spared: '下一个本会是 {name}',
  search: '搜索模型', show: '显示', sort: '排序', 'filter.all': '全部模型', 'filter.in': '在内存中', 'filter.pinned': '已固定', 'filter.failed': '失败',
  count: '共 {n} 个模型', 'count.one': '共 1 个模型', 'count.of': '{n} 个模型中的 {shown} 个', 'models.none': '没有符合的模型。', 'models.empty': '此服务器没有模型。',
  'col.name': '模型', 'col.task': '任务', 'col.state': '状态', 'col.mb': '内存', 'col.used': '上次使用', 'col.hits': '使用次数', 'col.load': '加载用时', 'col.exp': '到期', 'col.do': '操作',
  never: '从未', ago: '{t}前', in: '{t}后', now: '刚刚', pinned: '已固定', soon: '即将',
  load: '加载', unload: '卸载', pin: '固定', unpin: '取消固定', tryone: '试用', busy: '…',
  'said.load': '{name} 已加载。', 'said.unload': '{name} 已移出内存。', 'said.pin': '{name} 将一直留在内存中。', 'said.unpin': '{name} 可以再次移出内存。', 'said.wait': '{name}：正在处理…', 'said.bad': '{name}：{why}',
  'state.warm': '就绪', 'state.cool': '就绪（已冷却）', 'state.unloaded': '未加载', 'state.queued': '等待空间', 'state.loading': '加载中', 'state.draining': '关闭中', 'state.failed': '失败', guess: '提前加载',
  states: '各状态的含义',
  'why.warm': '在内存中，请求可立即运行。', 'why.cool': '模型已打开，但权重已归还；下一个请求要先从文件读回权重，需要几毫秒。', 'why.unloaded': '不占内存，第一个请求会加载它。', 'why.queued': '有请求需要它，正在等待腾出空间。', 'why.loading': '正在读取；如果是新模型，还要先做准备。',
  'why.draining': '完成手头的请求后归还内存。', 'why.failed': '无法加载，原因写在名称下面。之后会重试。', 'why.pinned': '不会被冷却，也不会为腾出空间而关闭。',
  drop: '把图片拖到这里', 'drop.more': '也可以选择文件、粘贴图片、使用摄像头，或者画几个图形。图片只会发送到这台服务器。', choose: '选择图片', camera: '使用摄像头', 'camera.stop': '关闭摄像头', sample: '画几个图形',
  'camera.insecure': '浏览器只允许 https 或 localhost 页面使用摄像头。', 'camera.denied': '无法打开摄像头：{why}',
  model: '模型', conf: '最低置信度', iou: '允许的重叠（IoU）', 'form.classify': '阈值对分类任务不起作用。', 'form.semantic': '阈值对语义分割不起作用。',
  found: '结果', 'found.none': '没有找到。可以降低置信度，或换一张图片。', 'found.n': '找到 {n} 个', 'found.first': '结果会显示在这里。', running: '正在运行…', 'share': '占画面 {n} %',
  'took.all': '{total} 毫秒：模型 {run}，图片 {decode}', 'took.cold': '，加载 {load}', 'pic.bad': '浏览器无法显示这张图片，但服务器也许能读取。',
  'canvas.label': '图片上画出了 {n} 个结果：{list}',
  code: '在程序中这样调用', copy: '复制', copied: '已复制', json: 'JSON 格式的回答',
  footer: '此页面由 lazyolo 自己提供，不从其他任何地方加载内容。',
  key: '密钥', 'key.title': '此服务器需要密钥', 'key.text': '密钥只保存在这个标签页中，只发送给这台服务器。', 'key.go': '继续', 'key.no': '暂不', 'key.bad': '服务器不认识这个密钥。',
  'unit.s': '{n} 秒', 'unit.min': '{n} 分钟', 'unit.h': '{n} 小时', 'unit.d': '{n} 天', 'err.net': '服务器没有响应', 'err.status': '服务器回答 {status}',
};

const stored = 'lazyolo-language';

function preferred() {
  let chosen = null;
  try { chosen = localStorage.getItem(stored); } catch { /* no storage: by the browser's languages */ }
  if (chosen === 'en' || chosen === 'zh') return chosen;
  for (const l of navigator.languages || [navigator.language]) {
    if (/^zh\b/i.test(l)) return 'zh';
    if (/^en\b/i.test(l)) return 'en';
  }
  return 'en';
}

export const language = preferred();
const words = language === 'zh' ? zh : en;

// t is a text in the page's language, with {names} filled in.
export function t(name, values) {
  const text = words[name] ?? en[name] ?? name;
  return values ? text.replace(/\{(\w+)\}/g, (all, k) => values[k] ?? all) : text;
}

// translate writes the page's fixed texts.
export function translate() {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = t(e.dataset.t);
  for (const e of document.querySelectorAll('[data-t-label]')) e.setAttribute('aria-label', t(e.dataset.tLabel));
  for (const e of document.querySelectorAll('[data-t-placeholder]')) e.placeholder = t(e.dataset.tPlaceholder);
  const other = document.getElementById('lang');
  other.textContent = language === 'zh' ? 'English' : '中文';
  other.lang = language === 'zh' ? 'en' : 'zh';
  other.addEventListener('click', () => {
    try { localStorage.setItem(stored, other.lang); } catch { return; }
    location.reload();
  });
}

const locale = language === 'zh' ? 'zh-CN' : 'en';
const formats = [0, 1, 2].map((digits) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits }));
const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

// number writes a number with at most so many decimals.
export const number = (n, digits = 0) => formats[digits].format(n);

// mb writes megabytes: whole from 100 on, else with one decimal.
export const mb = (n) => number(n, Math.abs(n) >= 99.95 ? 0 : 1);

// ms writes milliseconds, from a second on as seconds.
export function ms(n) {
  if (n == null || Number.isNaN(n)) return '–';
  if (n >= 999.5) return `${number(n / 1000, n >= 9995 ? 0 : 1)} ${language === 'zh' ? '秒' : 's'}`;
  return `${number(n, n < 9.95 ? 1 : 0)} ${language === 'zh' ? '毫秒' : 'ms'}`;
}

// span writes seconds as one number with a unit.
export function span(s) {
  if (s < 120) return t('unit.s', { n: Math.max(0, Math.floor(s)) });
  if (s < 7200) return t('unit.min', { n: Math.floor(s / 60) });
  if (s < 172800) return t('unit.h', { n: Math.floor(s / 3600) });
  return t('unit.d', { n: Math.floor(s / 86400) });
}

// time writes the time of day.
export const time = (at) => clock.format(at);

// fragments are how the server writes reasons, and what they are in Chinese.
const fragments = [
  [/^room for a picture$/, '为一张图片腾出空间'],
  [/^room for (.+)$/, '为 $1 腾出空间'], [/^over the budget$/, '超出预算'], [/^in use$/, '正在使用'],
  [/^idle (.+)$/, (_, d) => `已闲置 ${units(d)}`], [/^reload costs (.+)$/, (_, d) => `重新加载需 ${units(d)}`],
  [/^its pages return from the file$/, '需要时从文件读回'], [/^its keep-alive is over$/, '保留时间已到'], [/^asked to unload$/, '应要求卸载'],
  [/^loaded in (.+)$/, (_, d) => `用时 ${units(d)}`], [/^(\d+) waiting$/, '$1 个请求在等待'], [/^pinned$/, '已固定'],
];

const units = (d) => d.replace(/ ms$/, ' 毫秒').replace(/ s$/, ' 秒').replace(/ min$/, ' 分钟').replace(/ h$/, ' 小时');

// reason is a decision's reason in the page's language; what is not known stays as it is.
export function reason(text) {
  const loaded = /^loaded in (.+)$/.exec(text);
  if (language !== 'zh') return loaded ? `took ${loaded[1]}` : text;
  const head = /^(room for .+|over the budget): ((?:idle|in use).*)$/.exec(text);
  const parts = head ? [head[1], ...head[2].split(', ')] : text.split(', ');
  const out = parts.map((p) => {
    for (const [pattern, to] of fragments) if (pattern.test(p)) return p.replace(pattern, to);
    return null;
  });
  return out.includes(null) ? text : out.join('，');
}
