"""Brings one version of a catalogue, from a folder or by DVC, and verifies it."""

from kfp.dsl import Dataset, Output

from components.base import component


@component
def fetch(
    source: str, catalog: Output[Dataset], version: str = "", revision: str = "", path: str = "", remote: str = ""
) -> str:
    """Gives the rest of the pipeline a verified copy of the data, and its digest.

    Args:
        source: Folder of a catalogue; with path, URL or folder of a Git repository.
        catalog: The copy; its metadata names the source, the commit, its MD5 and its size.
        version: Digest that the copy must have; empty takes any.
        revision: Commit, tag or branch of the repository; empty is its newest.
        path: Folder in the repository that DVC tracks.
        remote: Where DVC's data lies; empty takes MOON_DVC_REMOTE or what the repository names.
    """
    from pathlib import Path

    from moon.steps import fetch as step
    from moon.steps.provenance import origin

    place = {"revision": revision, "path": path, "remote": remote}
    result = step.run(source=source, version=version, **place, out=Path(catalog.path))
    catalog.metadata.update(source=result.source, path=result.path, md5=result.md5)
    catalog.metadata.update(size=result.bytes, files=result.files, products=result.products)
    catalog.metadata.update(origin(), data_digest=result.digest, data_revision=result.revision)
    return str(result.digest)
