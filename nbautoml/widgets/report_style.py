"""The style and the script of a report: constants, so that its policy can name them by their hashes."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --quiet: #59636e; --rule: #d1d9e0;
  --card: #f6f8fa; --accent: #0072b2; --best: #fff4e5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e9ec; --quiet: #9aa4ae; --rule: #363c43; --card: #1d2126;
    --accent: #56b4e9; --best: #33270f; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, main { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
h1 { font-size: 28px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 14px; margin: 20px 0 6px; color: var(--quiet); }
p { margin: 4px 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: 13px; }
.state { font-size: 13px; font-weight: 600; vertical-align: middle; padding: 3px 10px; border-radius: 99px;
  border: 1px solid var(--accent); color: var(--accent); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-top: 24px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; }
.figure { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 16px; }
figure { margin: 0; padding: 8px; border: 1px solid var(--rule); border-radius: 10px; break-inside: avoid; }
figure svg { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; }
th, td { padding: 5px 12px; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
.pairs th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
.pairs td { overflow-wrap: anywhere; }
.pairs + .pairs { margin-top: 16px; }
.wide { overflow-x: auto; }
.trials { font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.trials thead th { position: sticky; top: 0; background: var(--paper); padding: 0; }
.trials button { all: unset; display: block; padding: 6px 12px; font-weight: 600; cursor: pointer; }
.trials button:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.trials th[aria-sort=ascending] button::after { content: " \\2191"; }
.trials th[aria-sort=descending] button::after { content: " \\2193"; }
.trials .best { background: var(--best); font-weight: 600; }
.trials td:last-child { white-space: normal; min-width: 160px; }
.number { text-align: right; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
section:last-child { margin-bottom: 48px; }
@media print {
  :root { --paper: #ffffff; --ink: #000000; --quiet: #444444; --rule: #bbbbbb; --card: #ffffff; --best: #eeeeee; }
  body { font-size: 11px; }
  .trials { font-size: 9px; white-space: normal; }
  .trials th, .trials td, .trials button { padding: 2px 5px; }
  .wide { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""

# Sorts the rows that are there; it reads numbers and texts, and writes no markup.
SCRIPT = """
(() => {
  const table = document.getElementById('trials');
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (a === '' || b === '') return (a === '') - (b === '');
    if (typeof a === 'number' && typeof b === 'number') return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  heads.forEach((head, i) => head.firstElementChild.addEventListener('click', () => {
    const isDown = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', isDown ? 'descending' : 'ascending');
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, i), row]);
    const isEmpty = ([value]) => value === '';
    rows.sort((x, y) => {
      if (isEmpty(x) || isEmpty(y)) return isEmpty(x) - isEmpty(y);
      return isDown ? compare(y[0], x[0]) : compare(x[0], y[0]);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
})();
"""
