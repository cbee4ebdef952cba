"""Runs the suites over a catalogue, writes Data Docs and says in sentences what was found."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import great_expectations as gx
import pandas as pd
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig

from moon.catalog.store import Catalog
from moon.catalog.validation.frames import KEYS, schema_frame, table_frames
from moon.catalog.validation.suites import Expectations, schema_suite, table_suites
from moon.config import ValidationParams

_SITE: Final = "docs"
_EXAMPLES: Final = 3
_NEXT: Final = {
    "products": "give a catalogue with more products",
    "interactions": "training and evaluation need queries with what was bought for them; a table of your own gets "
    "them from catalog.columns.query_text or catalog.columns.query_image",
}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Sentences about what is wrong, worst first."""

    failures: list[str]
    warnings: list[str]


def check_catalog(catalog: Catalog, params: ValidationParams, docs: Path) -> Findings:
    """Checks a catalogue and writes ``index.html`` and its pages into ``docs``.

    The row suites run only where the schema holds, because they read its columns.
    """
    with _quiet():
        context = _context(docs)
        found = _run(context, {"schema": schema_frame(catalog)}, {"schema": schema_suite()})
        if not found.failures:
            found = _check_rows(context, table_frames(catalog), params)
        context.build_data_docs(site_names=[_SITE])
    return found


def _check_rows(context: AbstractDataContext, frames: Mapping[str, pd.DataFrame], params: ValidationParams) -> Findings:
    found = _run(context, frames, table_suites(params))
    shares = _rejected_shares(frames["rejected"], params)
    return Findings(
        failures=found.failures + shares.failures,
        warnings=found.warnings + shares.warnings + _unevaluated(frames["interactions"]),
    )


def _context(docs: Path) -> AbstractDataContext:
    """A context in memory, without progress bars or telemetry, whose Data Docs go to ``docs``."""
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": store,
    }
    context.add_data_docs_site(_SITE, site)
    return context


def _run(
    context: AbstractDataContext, frames: Mapping[str, pd.DataFrame], suites: Mapping[str, Expectations]
) -> Findings:
    """Runs one suite a frame and turns what is broken into sentences."""
    source = context.data_sources.add_or_update_pandas("catalogue")
    found = Findings(failures=[], warnings=[])
    for name, expectations in suites.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        run = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frames[name]},
            result_format={"result_format": "SUMMARY", "unexpected_index_column_names": [KEYS[name]]},
        )
        for result in run.results:
            _collect(name, result, found)
    return found


def _collect(table: str, result: Any, found: Findings) -> None:
    """Adds the sentence of one result to the failures, or where only the allowed share is broken, to the warnings."""
    if not result.result:
        raise RuntimeError(f"an expectation on {table} could not be computed: {result.exception_info}")
    meta = result.expectation_config.meta
    if "least" in meta and not result.success:
        rows = result.result["observed_value"]
        found.failures.append(f"{table} has {rows} rows, at least {meta['least']} are needed: {_NEXT[table]}")
    if "says" in meta and result.result["unexpected_count"]:
        count, rows = result.result["unexpected_count"], result.result["element_count"]
        names = [str(place[KEYS[table]]) for place in result.result["partial_unexpected_index_list"]]
        sentence = f"{count} of {rows} rows of {table} {meta['says']}, such as {', '.join(names[:_EXAMPLES])}"
        (found.warnings if result.success else found.failures).append(sentence)


def _rejected_shares(frame: pd.DataFrame, params: ValidationParams) -> Findings:
    """Tables of which more rows were rejected than the thresholds allow."""
    found = Findings(failures=[], warnings=[])
    for row in frame.to_dict("records"):
        fails = row["share"] > params.fail_rejected_share
        limit = params.fail_rejected_share if fails else params.warn_rejected_share
        if row["share"] > limit:
            (found.failures if fails else found.warnings).append(
                f"{row['rejected']} of {row['kept'] + row['rejected']} rows of {row['table']} were rejected, more than "
                f"{limit:.1%}: {row['reasons']}; the rejected table says what is wrong with each"
            )
    return found


def _unevaluated(interactions: pd.DataFrame) -> list[str]:
    splits = set(interactions["split"])
    if splits and not splits & {"val", "test"}:
        return ["every interaction is in split train: there is nothing to evaluate a model on"]
    return []


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the library's remarks about itself."""
    logs = [logging.getLogger(name) for name in ("great_expectations", "great_expectations.data_context.types.base")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
