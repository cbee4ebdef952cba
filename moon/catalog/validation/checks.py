"""Runs the suites over a catalogue, writes Data Docs and says in sentences what was found."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import great_expectations as gx
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig

from moon.catalog.store import Catalog
from moon.catalog.validation.findings import CheckResult, Findings, check_result
from moon.catalog.validation.pages import Page, finish
from moon.catalog.validation.rules import Suite
from moon.catalog.validation.suites import SUITES
from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams
from moon.progress import track

_SITE: Final = "docs"


def check_catalog(catalog: Catalog, params: ValidationParams, docs: Path) -> Findings:
    """Checks a catalogue and writes ``index.html`` and its pages into ``docs``.

    The schema comes first; where it does not hold nothing else runs, because the others read its columns. One suite's
    frame is in memory at a time.
    """
    results: list[CheckResult] = []
    with _quiet():
        context = docs_context(docs)
        tables = Tables(catalog)
        for suite in track(SUITES, "checking", total=len(SUITES)):
            results += check_suite(context, suite, tables, params)
            if suite is SUITES[0] and Findings(results=results).failures:
                break
        context.build_data_docs(site_names=[_SITE])
    found = Findings(results=results)
    finish(docs, found)
    return found


def docs_context(docs: Path) -> AbstractDataContext:
    """A context in memory, without progress bars or telemetry, whose Data Docs go to ``docs``."""
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    view = {"module_name": Page.__module__, "class_name": Page.__name__}
    site = {
        "class_name": "SiteBuilder",
        "site_section_builders": {section: {"view": view} for section in ("expectations", "validations")},
        "store_backend": store,
    }
    context.add_data_docs_site(_SITE, site)
    return context


def check_suite(
    context: AbstractDataContext, suite: Suite, tables: Tables, params: ValidationParams
) -> list[CheckResult]:
    """Runs one suite."""
    frame = suite.frame(tables, params).rename_axis(None)  # a nameless index comes back as plain labels
    rules = list(suite.rules(params))
    source = context.data_sources.add_or_update_pandas(suite.name)
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    suite_of = gx.ExpectationSuite(name=suite.name, expectations=[rule.expectation(suite.things) for rule in rules])
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=context.suites.add(suite_of))
    run = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": 10},
    )
    results = {result.expectation_config.meta["check"]: result for result in run.results}
    return [check_result(suite, rule, results[rule.name]) for rule in rules]


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
