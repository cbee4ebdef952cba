"""The report of a run: one self-contained HTML page, its builders, charts, pictures and sections.

- `html`, `drawing`, `charts`, `maps`, `pictures`: what sections are built from
- `summary`, `quality`, `slices`, `gallery`, `attention`, `inside`, `process`, `operation`, `data`: the sections

A section is a function from a step's plain results (and `Pictures`) to markup; `moon.steps.report` reads the files.
"""
