"""The look of a report: light and dark, on paper, and on a narrow screen."""

__all__ = ["CSS"]

_LIGHT = """--paper: #ffffff; --ink: #1c1c1c; --soft: #5a5f66; --box: #f4f5f7; --edge: #c9cdd3; --grid: #d5d8dd;
--sparse: #d3d9e2; --warmup: #9aa3b0; --run0: #0072b2; --run1: #c04a00; --run2: #007a5a;
--run3: #a6427f; --run4: #806400; --run5: #555555;"""
_DARK = """--paper: #14161a; --ink: #e6e8eb; --soft: #a4abb5; --box: #1f2329; --edge: #474d57; --grid: #3a4049;
--sparse: #323c4c; --warmup: #6d7785; --run0: #63b8f2; --run1: #ff9d57; --run2: #42d3a5;
--run3: #eb9fcb; --run4: #e8d34a; --run5: #c4c9d0;"""

CSS = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1240px; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; margin: 0; }}
h2 {{ font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--edge); }}
h3 {{ font-size: 1rem; margin: 1.2rem 0 .4rem; }}
p {{ margin: .4rem 0; max-width: 80ch; }}
.soft, figcaption, caption {{ color: var(--soft); font-size: .88rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; }}
caption {{ text-align: left; padding: .2rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; min-width: 5rem;
  border-bottom: 1px solid var(--edge); }}
thead th, thead td {{ border-bottom: 2px solid var(--edge); }}
tbody th {{ font-weight: normal; min-width: 9rem; }}
.box th, .box td, .numbers th, .numbers td {{ overflow-wrap: break-word; }}
.numbers th, .numbers td, .numbers tbody th {{ min-width: 0; }}
.numbers td, .numbers thead th:not(:first-child) {{ text-align: right; font-variant-numeric: tabular-nums; }}
summary {{ cursor: pointer; padding: .3rem 0; }}
.box {{ background: var(--box); border: 1px solid var(--edge); border-radius: 6px; padding: .6rem 1rem; }}
.tag {{ white-space: nowrap; font-weight: 600; }}
.counted {{ font-style: italic; }}
.swatch {{ width: 2.4em; height: .7em; margin-right: .4em; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; max-width: none; }}
.phase {{ display: inline-block; width: 1.8em; height: .8em; margin-right: .4em; border: 1px solid var(--warmup); }}
.phase.warmup {{ background: repeating-linear-gradient(-45deg, var(--warmup) 0 1px, transparent 1px 4px); }}
.phase.sparse {{ background: var(--sparse); }}
.phase.turns {{ background: color-mix(in srgb, var(--sparse) 50%, transparent); }}
.charts {{ display: grid; gap: 1.4rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); }}
.over-time {{ display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }}
.over-time img {{ width: 100%; max-width: 300px; }}
.pair {{ display: flex; flex-wrap: wrap; gap: .8rem; }}
.pair figure {{ flex: 0 1 320px; }}
.pair .wide {{ flex: 1 0 100%; }}
.pair img {{ width: 100%; max-width: 720px; }}
.zoom img {{ cursor: zoom-in; }}
.zoom input {{ position: absolute; opacity: 0; }}
.zoom input:focus-visible + img {{ outline: 3px solid var(--run0); }}
.zoom input:checked + img {{ position: fixed; inset: 0; z-index: 1; width: 100vw; height: 100vh; max-width: none; padding: 1rem;
  object-fit: contain; background: var(--paper); cursor: zoom-out; }}
figure {{ margin: 0; max-width: 100%; }}
.charts figcaption {{ color: var(--ink); font-weight: 600; font-size: .95rem; }}
.charts svg {{ display: block; width: 100%; height: auto; }}
svg text {{ font-family: system-ui, sans-serif !important; }}
img {{ display: block; max-width: 100%; height: auto; image-rendering: pixelated; }}
@media (max-width: 480px) {{
  table {{ font-size: .8rem; }}
  th, td {{ padding-right: .4rem; }}
  tbody th {{ min-width: 7rem; }}
  .box {{ padding: .6rem; }}
}}
@media print {{
  :root {{ font-size: 11px; }}
  body {{ max-width: none; padding: 0; print-color-adjust: exact; }}
  figure, tr, .box {{ break-inside: avoid; }}
  h2, h3 {{ break-after: avoid; }}
  .charts {{ grid-template-columns: 1fr 1fr; }}
  .scroll {{ overflow: visible; }}
}}
"""
