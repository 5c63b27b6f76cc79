"""The style sheet of the web page: one column, readable on a phone, in light and dark."""

STYLESHEET = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --paper: #ffffff; --page: #f6f7f9;
  --line: #d9dce1; --grid: #d9d9d9; --blue: #0072B2; --note: #fff6e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3abb5; --paper: #171a1f; --page: #0f1115;
  --line: #333941; --grid: #3a4049; --blue: #4aa8e0; --note: #2d2616; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; }
.soft { color: var(--soft); }
nav { margin: 1rem 0; font-size: .9rem; }
nav a { display: inline-block; margin: 0 .9rem .2rem 0; }
a { color: var(--blue); }
section.figure { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .4rem 1rem 1rem;
  margin: 1.2rem 0; }
section.figure h2 { margin-top: .8rem; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; margin: .6rem auto 1rem; }
.wide { overflow-x: auto; margin: .6rem 0;
  background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .35rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.group { white-space: normal; padding-top: .7rem; }
.warning { background: var(--note); border-radius: 8px; padding: .5rem .9rem; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0; }
code { font-family: ui-monospace, "Liberation Mono", Menlo, monospace; font-size: .85em; overflow-wrap: anywhere; }
@media print { body { background: white; } section.figure { break-inside: avoid; } }
@media (max-width: 30rem) { main { padding: 1rem .6rem 2rem; } section.figure { padding: .2rem .6rem .8rem; }
  table { font-size: .8rem; } th, td { padding: .3rem .4rem; } }
"""
