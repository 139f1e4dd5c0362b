"""Style and script of an HTML page. They stand in Python, so that a page's digest holds them."""

STYLE = """\
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --band: #f6f8fa;
  --link: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117;
  --band: #151b23; --link: #4493f8; } }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
a { color: var(--link); }
img { max-width: 100%; background: #fff; }
code { font-size: 0.9em; background: var(--band); }
pre { padding: 0.75rem; overflow-x: auto; background: var(--band); overflow-wrap: normal; }
.table { margin: 1rem 0; overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border: 1px solid var(--line); }
td[style*="right"] { white-space: nowrap; }
th { padding: 0; background: var(--band); vertical-align: bottom; }
tbody tr:nth-child(even) { background: var(--band); }
th button { width: 100%; padding: 0.3rem 0.7rem; border: 0; font: inherit; font-weight: 600; color: inherit;
  text-align: inherit; background: none; cursor: pointer; }
th button:hover { text-decoration: underline; }
th button::after { content: "\\00a0\\2195"; color: var(--soft); }
th[aria-sort="ascending"] button::after { content: "\\00a0\\2191"; color: inherit; }
th[aria-sort="descending"] button::after { content: "\\00a0\\2193"; color: inherit; }
:focus-visible { outline: 2px solid var(--link); outline-offset: -2px; }
@media print { th button::after { content: ""; } .table { overflow: visible; } }
"""

# Numbers stand right and are sorted from the highest first. A third click brings back the order of the page.
SCRIPT = """\
"use strict";
for (const button of document.querySelectorAll("th button")) {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  button.addEventListener("click", () => {
    body.written ??= [...body.rows];
    const orders = ["ascending", "descending"];
    if (head.style.textAlign === "right") orders.reverse();
    const order = ["none", ...orders, "none"][["none", ...orders].indexOf(head.getAttribute("aria-sort")) + 1];
    const rank = row => row.cells[head.cellIndex].dataset.rank;
    const ranked = body.written.filter(row => rank(row)), others = body.written.filter(row => !rank(row));
    ranked.sort((a, b) => (order === "descending" ? -1 : 1) * (rank(a) - rank(b)));
    body.replaceChildren(...(order === "none" ? body.written : [...ranked, ...others]));
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
  });
}
"""
