'use strict';
(() => {
  const all = (what, under = document) => [...under.querySelectorAll(what)];
  const root = document.documentElement;

  // light or dark: at first as the system has it
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  const turn = () => { root.dataset.theme = dark() ? 'light' : 'dark'; };
  document.getElementById('theme').addEventListener('click', turn);

  // sections and images by keys
  const links = all('nav a'), figures = all('.example');
  const visit = link => {
    const section = document.querySelector(link.getAttribute('href'));
    section.scrollIntoView();
    section.querySelector('h2').focus({preventScroll: true});
  };
  const step = by => {
    if (!figures.length) return;
    const at = figures.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : figures.length - 1)
      : Math.min(figures.length - 1, Math.max(0, at + by));
    figures[next].focus({preventScroll: true});
    figures[next].scrollIntoView({block: 'center'});
  };
  const keys = {
    t: turn, j: () => step(1), k: () => step(-1), o: () => root.classList.toggle('bare'),
  };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input')) return;
    if (links[event.key - 1]) visit(links[event.key - 1]);
    else if (keys[event.key]) keys[event.key]();
  });

  // the matrix: arrows move, and the cell is put into words
  const matrix = document.getElementById('matrix');
  if (matrix) {
    const rows = all('tbody tr', matrix).map(row => all('td', row));
    const words = document.getElementById('cell');
    const show = cell => { words.textContent = cell.title; };
    const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
    rows.forEach((row, i) => row.forEach((cell, j) => {
      cell.addEventListener('focus', () => show(cell));
      cell.addEventListener('mouseenter', () => show(cell));
      cell.addEventListener('keydown', event => {
        const move = moves[event.key];
        const next = move && rows[i + move[0]] && rows[i + move[0]][j + move[1]];
        if (!next) return;
        event.preventDefault();
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      });
    }));
  }

  // tables: a heading sorts, first the lowest numbers
  const valueOf = cell => cell.dataset.v === undefined ? cell.textContent : +cell.dataset.v;
  const compare = (a, b) => typeof a === 'number' && typeof b === 'number'
    ? (isNaN(a) - isNaN(b)) || a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
  for (const table of all('.sortable')) {
    const heads = all('thead th', table), body = table.tBodies[0];
    heads.forEach((head, column) => {
      if (!head.textContent) return;
      head.tabIndex = 0;
      head.setAttribute('role', 'button');
      const sort = () => {
        const down = head.getAttribute('aria-sort') === 'ascending';
        for (const each of heads) each.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const rows = [...body.rows].map(row => [valueOf(row.cells[column]), row]);
        rows.sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0]));
        body.append(...rows.map(([, row]) => row));
      };
      head.addEventListener('click', sort);
      head.addEventListener('keydown', event => {
        if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); sort(); }
      });
    });
  }

  // the list of images: only those whose id has this text
  const filter = document.getElementById('filter');
  filter.addEventListener('input', () => {
    for (const row of document.getElementById('per-image').tBodies[0].rows)
      row.hidden = !row.cells[0].textContent.includes(filter.value);
  });
})();
