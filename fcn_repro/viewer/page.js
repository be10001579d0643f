'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = id => document.getElementById(id);
  const root = document.documentElement, graph = $('graph'), net = $('net'), world = $('world');
  const layers = data.layers, margin = data.margin;
  const shapes = [], rows = [], boxOf = [];
  for (const each of net.querySelectorAll('.layer')) shapes[each.dataset.i] = each;
  for (const each of document.querySelectorAll('#table tbody tr'))
    (rows[each.dataset.i] ||= []).push(each);
  data.boxes.forEach((box, b) => box[4].forEach(i => { boxOf[i] = b; }));
  const edges = [...net.querySelectorAll('.edge')];
  let selected = -1, found = [], at = -1, scale = 1, left = 0, top_ = 0;

  // ---- elements: everything from the net's file is set as text -------------------------------

  function make(name, content, kind) {
    const out = document.createElement(name);
    if (kind) out.className = kind;
    for (const each of Array.isArray(content) ? content : [content])
      if (each !== undefined && each !== null && each !== '') out.append(each);
    return out;
  }
  function link(i) {
    const out = make('a', layers[i].name);
    out.href = '#';
    out.addEventListener('click', event => { event.preventDefault(); select(i, true); });
    return out;
  }
  function links(numbers) {
    return numbers.flatMap((i, k) => k ? [', ', link(i)] : [link(i)]);
  }
  function facts(pairs) {
    const out = make('dl', [], 'facts');
    for (const [name, value] of pairs)
      if (value !== undefined) out.append(make('dt', name), make('dd', value));
    return out;
  }
  function grid(head, lines) {
    const out = make('table', []);
    out.append(make('tr', head.map(each => make('th', each, 'l'))));
    for (const line of lines) out.append(make('tr', line.map(each => make('td', each, 'l'))));
    return out;
  }

  // ---- details ------------------------------------------------------------------------------

  function share(part, whole) {
    return whole && part ? ` (${(100 * part / whole).toPrecision(3)} %)` : '';
  }
  function details(i) {
    const box = $('details');
    box.replaceChildren();
    if (i < 0) {
      box.append(make('p', 'Choose a layer: click it, or use the arrow keys. / searches, ? lists ' +
        'the keys.', 'lead'));
      return;
    }
    const layer = layers[i];
    box.append(make('h2', [layer.name]), make('p', [make('span', layer.type,
      `badge k-${layer.kind}`), layer.settings + (layer.inPlace ? ' (in place)' : '')]));
    for (const note of layer.notes) box.append(make('p', `! ${note}`, 'warn'));
    const reads = layer.bottoms.map(b => make('div', [link(b.layer), ` · ${b.name} ${b.shape}` +
      (b.light ? ', its size only' : '')]));
    box.append(facts([
      ['reads', reads.length ? reads : undefined],
      ['parameters', layer.params.length ? `${layer.count.toLocaleString('en')} · ` +
        `${layer.paramBytes}${share(layer.count, data.params)}` :
        layer.known ? 'none' : 'not known'],
      ['multiply-adds', layer.macs === 0 ? 'none' :
        layer.macs === null ? 'not known' :
        layer.macsText + share(layer.macs, data.macs)],
      ['memory of its tops', layer.inPlace ? 'its bottom\'s' : layer.memory]]));
    if (layer.params.length) {
      box.append(grid(['parameter', 'shape', ''], layer.params.map((p, k) => [String(k), p.shape,
        (p.owner ? `shared: ${p.owner}'s` : '') + (p.learned ? '' : ' not learned')])));
    }
    for (const top of layer.tops) {
      box.append(make('h2', ['top ', top.name]), facts([
        ['shape', top.shape],
        ['receptive field', words(top)],
        ['stride', top.stride === '-' ? undefined : `${top.stride} pixels of the input`],
        ['offset', top.start === '-' ? undefined : `cell 0 has its centre at pixel ${top.start}`],
        ['read by', top.readers.length ? links(top.readers) : 'nobody: an output']]));
    }
    if (layer.cut) explain(box, layer);
    const mine = data.fusions.filter(each => each.layers.includes(i));
    if (mine.length) {
      box.append(make('h2', 'what passes do here'));
      box.append(make('ul', mine.map(each => make('li',
        `${each.of} (for ${each.request}): ${each.what}`))));
    }
    box.append(make('h2', [`${data.file}`, make('small', layer.line ? `:${layer.line}` : '')]));
    box.append(make('pre', layer.text));
  }
  function words(top) {
    if (top.field === 'all') return 'all of the input';
    if (top.field === '?' || top.field === '-') return 'not known';
    return `${top.field.includes('×') ? top.field : top.field + '×' + top.field} pixels`;
  }
  function explain(box, layer) {
    box.append(make('h2', 'why this offset'),
      make('p', layer.cut.words, layer.cut.fits ? '' : 'warn'));
    layer.cut.ways.forEach((way, k) => {
      if (way.length) box.append(make('p', `From ${layer.cut.common} to ${layer.bottoms[k].name}` +
        ', the layers that move cells:', 'lead'), grid(['layer', 'cell x becomes', 'so far'], way));
    });
  }
  function fusions() {
    if (!data.fusions.length) return;
    const items = data.fusions.map((each, k) => {
      const item = make('li', [make('b', `${k + 1} `), `${each.of}: ${each.what}`,
        each.request === 'outputs' ? '' : ` (for ${each.request})`]);
      item.addEventListener('mouseenter', () => mates(each.layers));
      item.addEventListener('mouseleave', () => mates([]));
      item.addEventListener('click', () => { if (each.layers.length) select(each.layers[0], true); });
      return item;
    });
    const list = data.alike.map(([words, group]) => {
      if (group.length === 1) return items[group[0]];
      const many = make('details', [make('summary', `${data.fusions[group[0]].of}: ${words}`),
        make('ul', group.map(k => items[k]))]);
      return make('li', [many]);
    });
    $('fusions').append(make('h2', ['What passes make of it ', make('small', String(items.length))]),
      make('ul', list));
  }
  function mates(numbers) {
    shapes.forEach((each, i) => each.classList.toggle('mate', numbers.includes(i)));
  }

  // ---- selection ----------------------------------------------------------------------------

  function select(i, move) {
    for (const each of [shapes[selected], ...(rows[selected] || [])]) each?.classList.remove('on');
    selected = i;
    for (const each of [shapes[i], ...(rows[i] || [])]) each?.classList.add('on');
    const box = i < 0 ? [] : data.boxes[boxOf[i]][4];
    for (const each of edges)
      each.classList.toggle('on', i >= 0 && (box.includes(+each.dataset.a) ||
        box.includes(+each.dataset.b)));
    details(i);
    $('side').scrollTop = 0;
    if (move && i >= 0) { reveal(i); rows[i]?.[0].scrollIntoView({ block: 'nearest' }); }
  }
  function step(key) {
    if (selected < 0) return select(0, true);
    const box = data.boxes[boxOf[selected]], k = box[4].indexOf(selected), layer = layers[selected];
    if (key === 'ArrowDown') {
      if (k + 1 < box[4].length) return select(box[4][k + 1], true);
      const next = layer.tops.flatMap(t => t.readers).filter(i => boxOf[i] !== boxOf[selected]);
      if (next.length) select(nearest(next, box), true);
    } else if (key === 'ArrowUp') {
      if (k > 0) return select(box[4][k - 1], true);
      const before = layer.bottoms.map(b => b.layer);
      if (before.length) select(nearest(before, box), true);
    } else {
      const way = key === 'ArrowRight' ? 1 : -1, x = box[0] + box[2] / 2;
      const beside = data.boxes.filter(b => way * (b[0] + b[2] / 2 - x) > 1 &&
        b[1] < box[1] + box[3] && b[1] + b[3] > box[1]);
      beside.sort((a, b) => Math.abs(a[0] - box[0]) - Math.abs(b[0] - box[0]));
      if (beside.length) select(beside[0][4][0], true);
    }
  }
  function nearest(numbers, box) {
    const far = i => Math.hypot(data.boxes[boxOf[i]][0] + data.boxes[boxOf[i]][2] / 2 - box[0] -
      box[2] / 2, data.boxes[boxOf[i]][1] - box[1]);
    return numbers.reduce((a, b) => far(b) < far(a) ? b : a);
  }

  // ---- pan and zoom -------------------------------------------------------------------------

  function paint() {
    world.setAttribute('transform', '');
    net.setAttribute('viewBox', `${left} ${top_} ${graph.clientWidth / scale} ` +
      `${graph.clientHeight / scale}`);
    map();
  }
  function clamp() {
    const w = graph.clientWidth / scale, h = graph.clientHeight / scale, slack = 0.5;
    left = Math.min(Math.max(left, -w * slack), data.width - w * (1 - slack));
    top_ = Math.min(Math.max(top_, -h * slack), data.height - h * (1 - slack));
  }
  function zoom(factor, x = graph.clientWidth / 2, y = graph.clientHeight / 2) {
    const next = Math.min(Math.max(scale * factor, 0.02), 4);
    left += x / scale - x / next;
    top_ += y / scale - y / next;
    scale = next;
    clamp();
    paint();
  }
  function fit(all) {
    const w = graph.clientWidth, h = graph.clientHeight;
    const across = w / (data.width + 2 * margin), down = h / (data.height + 2 * margin);
    scale = all ? Math.min(across, down, 1.5) : Math.max(Math.min(across, 1), 0.35);
    left = data.width / 2 - w / scale / 2;
    top_ = all ? data.height / 2 - h / scale / 2 : -margin;
    if (!all && across < scale) center(0, false);
    paint();
  }
  function center(i, both) {
    const [x, y, w] = data.boxes[boxOf[i]];
    left = x + w / 2 - graph.clientWidth / scale / 2;
    if (both) top_ = y - graph.clientHeight / scale / 2;
  }
  function reveal(i) {
    if (!graph.clientWidth || !layers.length) return;
    const [x, y, w, h] = data.boxes[boxOf[i]], pad = 60;
    const width = graph.clientWidth / scale, height = graph.clientHeight / scale;
    if (x < left + pad) left = x - pad;
    if (x + w > left + width - pad) left = x + w + pad - width;
    if (y < top_ + pad) top_ = y - pad;
    if (y + h > top_ + height - pad) top_ = y + h + pad - height;
    if (scale < 0.3) { scale = 0.8; center(i, true); }
    paint();
  }

  let drag = null, moved = 0;
  graph.addEventListener('pointerdown', event => {
    if (event.button || event.target === $('map')) return;
    drag = [event.clientX, event.clientY];
    moved = 0;
  });
  window.addEventListener('pointermove', event => {
    if (!drag) return;
    const x = event.clientX - drag[0], y = event.clientY - drag[1];
    moved += Math.abs(x) + Math.abs(y);
    if (moved > 4) graph.classList.add('drag');
    left -= x / scale;
    top_ -= y / scale;
    drag = [event.clientX, event.clientY];
    clamp();
    paint();
  });
  window.addEventListener('pointerup', () => { drag = null; graph.classList.remove('drag'); });
  graph.addEventListener('click', event => {
    if (moved > 4) return;
    const layer = event.target.closest('.layer');
    if (layer) select(+layer.dataset.i, false);
  });
  graph.addEventListener('wheel', event => {
    event.preventDefault();
    const area = graph.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey)
      return zoom(Math.exp(-event.deltaY / 300), event.clientX - area.left,
        event.clientY - area.top);
    left += (event.shiftKey ? event.deltaY : event.deltaX) / scale;
    top_ += (event.shiftKey ? 0 : event.deltaY) / scale;
    clamp();
    paint();
  }, { passive: false });

  // ---- the small map ------------------------------------------------------------------------

  const canvas = $('map'), pen = canvas.getContext('2d');
  function map() {
    const most = [150, Math.min(graph.clientHeight - 20, 520)];
    const k = Math.min(most[0] / data.width, most[1] / data.height, 0.2);
    const w = Math.max(Math.round(data.width * k), 12), h = Math.max(Math.round(data.height * k), 1);
    const style = getComputedStyle(root);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    pen.clearRect(0, 0, w, h);
    pen.fillStyle = style.getPropertyValue('--line');
    for (const [x, y, bw, bh, items] of data.boxes) {
      pen.fillStyle = style.getPropertyValue(`--${layers[items[0]].kind}`);
      pen.fillRect(x * k, y * k, Math.max(bw * k, 1.5), Math.max(bh * k, 1));
    }
    pen.strokeStyle = style.getPropertyValue('--accent');
    pen.lineWidth = 1.5;
    pen.strokeRect(left * k, top_ * k, graph.clientWidth / scale * k,
      graph.clientHeight / scale * k);
    canvas.hidden = data.height * scale < graph.clientHeight && data.width * scale <
      graph.clientWidth;
  }
  function mapped(event) {
    const area = canvas.getBoundingClientRect(), k = canvas.width / data.width;
    const ky = canvas.height / data.height;
    left = (event.clientX - area.left) / k - graph.clientWidth / scale / 2;
    top_ = (event.clientY - area.top) / ky - graph.clientHeight / scale / 2;
    clamp();
    paint();
  }
  canvas.addEventListener('pointerdown', event => { mapped(event); canvas.setPointerCapture(
    event.pointerId); event.stopPropagation(); });
  canvas.addEventListener('pointermove', event => { if (event.buttons) mapped(event); });

  // ---- search -------------------------------------------------------------------------------

  const search = $('search');
  function seek() {
    const text = search.value.trim().toLowerCase();
    found = !text ? [] : layers.flatMap((layer, i) => [layer.name, layer.type,
      ...layer.tops.map(t => t.name)].some(each => each.toLowerCase().includes(text)) ? [i] : []);
    at = -1;
    shapes.forEach((each, i) => each.classList.toggle('hit', found.includes(i)));
    for (const [i, each] of rows.entries()) for (const row of each || [])
      row.hidden = Boolean(text) && !found.includes(i);
    $('hits').textContent = text ? `${found.length} found` : '';
  }
  function go(way) {
    if (!found.length) return;
    at = (at + way + found.length) % found.length;
    select(found[at], true);
    $('hits').textContent = `${at + 1} of ${found.length}`;
  }
  search.addEventListener('input', seek);
  search.addEventListener('keydown', event => {
    if (event.key === 'Enter') go(event.shiftKey ? -1 : 1);
    else if (event.key === 'Escape') { search.value = ''; seek(); graph.focus(); }
    else if (event.key === 'ArrowDown' || event.key === 'ArrowUp')
      go(event.key === 'ArrowDown' ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // ---- keys and buttons ---------------------------------------------------------------------

  function show(what) {
    document.body.classList.toggle('table', what === 'table');
    $('show-table').setAttribute('aria-pressed', what === 'table');
    $('show-graph').setAttribute('aria-pressed', what !== 'table');
    if (what !== 'table') { paint(); if (selected >= 0) reveal(selected); }
    else rows[selected]?.[0].scrollIntoView({ block: 'center' });
  }
  function theme() {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' :
      matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    paint();
  }
  const keys = {
    '/': () => { search.focus(); search.select(); },
    Escape: () => { search.value = ''; seek(); select(-1, false); },
    '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8),
    0: () => fit(true), 1: () => { zoom(1 / scale); if (selected >= 0) reveal(selected); },
    g: () => show('graph'), l: () => show('table'), t: theme, '?': () => $('keys').showModal(),
  };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === search ||
        $('keys').open) return;
    if (event.key.startsWith('Arrow')) step(event.key);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  $('zoom-in').onclick = () => zoom(1.25);
  $('zoom-out').onclick = () => zoom(0.8);
  $('fit').onclick = () => fit(true);
  $('theme').onclick = theme;
  $('help').onclick = () => $('keys').showModal();
  $('show-graph').onclick = () => show('graph');
  $('show-table').onclick = () => show('table');
  document.querySelector('#table tbody').addEventListener('click', event => {
    const row = event.target.closest('tr');
    if (row) select(+row.dataset.i, false);
  });
  addEventListener('resize', () => { clamp(); paint(); });
  addEventListener('beforeprint', () => net.setAttribute('viewBox',
    `${-margin} ${-margin} ${data.width + 2 * margin} ${data.height + 2 * margin}`));
  addEventListener('afterprint', paint);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', map);

  fusions();
  fit(false);
  const wanted = decodeURIComponent(location.hash.slice(1));
  const first = wanted ? layers.findIndex(layer => layer.name === wanted) : -1;
  select(first, first >= 0);
})();
