"""Measures an embedder: MBE-style retrieval in five directions, zero-shot label prediction, and their report.

- `ranking`: exact ranks of the bought products, ties ordered as trec_eval does
- `bootstrap`: percentile intervals that resample products
- `tasks`: the five directions, their queries and gallery, Recall@k and MRR
- `labels`: category and attribute prediction by the nearest label text
- `report`: one self-contained HTML page

Everything here works on rows and arrays; `moon.steps.evaluate` and `moon.steps.report` read and write the files.
"""
