"""The look of the page: light and dark, on a phone, on paper."""

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1d22; --paper: #ffffff; --card: #f4f5f7; --muted: #5b616e; --line: #c9cdd5;
  --accent: #0b5fa5; --good: #1a7f37; --bad: #c0272d; --open: #8a5a00; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6e8ec; --paper: #14161a; --card: #1e2127; --muted: #a3a9b5; --line: #4a505c;
  --accent: #6cb3f0; --good: #5fcf80; --bad: #ff8a80; --open: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line);  overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p { margin: .4rem 0; max-width: 54rem; overflow-wrap: anywhere; }
.small, figcaption, caption { color: var(--muted); font-size: .88rem; }
.answers { display: grid; gap: .8rem; margin: 1rem 0; }
.answer { background: var(--card); border-left: 4px solid var(--accent); border-radius: 6px;
  padding: .7rem 1rem; }
.answer .what { font-size: 1.12rem; font-weight: 600; max-width: none; }
.answer .where { color: var(--muted); font-size: .88rem; margin: 0; max-width: none; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; padding: .28rem .55rem .28rem 0;
  border-bottom: 1px solid var(--line); }
.many > *, .stack > * { min-width: 0; }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 8rem; }
td { max-width: 34rem; }
td.n { text-align: right; white-space: nowrap; }
.PASS { color: var(--good); font-weight: 700; } .FAIL { color: var(--bad); font-weight: 700; }
.INCONCLUSIVE { color: var(--open); font-weight: 700; }
.NOT { color: var(--muted); font-weight: 700; }
figure { margin: .8rem 0 1.4rem; }
figure svg { width: 100%; height: auto; display: block; color: var(--ink); }
.many { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.matrix td { text-align: right; padding: .28rem .6rem;
  background: color-mix(in srgb, var(--accent) calc(var(--share) * 55%), transparent); }
.matrix th { padding-left: .3rem; }
details { margin: .3rem 0; border: 1px solid var(--line); border-radius: 6px;
  padding: .35rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
code { font: .86rem/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { font-size: 15px; } main { padding: .8rem .7rem 3rem; }
  table { width: max-content; } td { max-width: 17rem; } }
@media print { :root { --ink: #000; --paper: #fff; --card: #fff; --muted: #444; --line: #bbb; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .scroll { overflow: visible; } figure, .answer, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; } table { font-size: 8pt; } }
"""
