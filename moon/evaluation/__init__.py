"""Measures an embedder: MBE-style retrieval in five directions, zero-shot label prediction, and their report.

- `ranking`, `ranks`: exact ranks of the bought products, ties ordered as trec_eval does, and what follows from them
- `bootstrap`, `paired`: percentile intervals that resample products, and paired tests of two models
- `tasks`, `summary`: the five directions, their queries, gallery and measures; `product1m`: several products a query
- `labels`, `probe`: category and attribute prediction by the nearest label text, and by a linear classifier
- `health`, `modality`, `diagnosis`: collapse, modality gap, and whether a query finds the kind it asks for
- `slices`, `confusions`, `projection`: retrieval by category, what is mistaken for what, a map
- `measure`, `table`, `comparison`: all of it for one benchmark, as Markdown, and for two models
- `mteb_encoder`, `mteb_tasks`: a checkpoint and a catalogue in `mteb`; only these two import it
- `report`: one self-contained HTML page

Everything here works on rows and arrays; `moon.steps.evaluate` and `moon.steps.report` read and write the files.
"""
