"""A folder of one Git revision that DVC tracks: its list of files, and their transfer.

with open_folder("https://git.example.com/catalogues.git", "v7", "data") as folder:
    transfer(folder, folder.files, out)

Git names the revision, the revision names the folder by an MD5, that names the list of files, and the list names each
file by its MD5. Every link of this chain is checked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from moon.progress import track

REMOTE_VARIABLE: Final = "MOON_DVC_REMOTE"
"""Environment variable with the place of the data: a folder or a URL such as ``s3://bucket/dvc``."""
ATTEMPTS: Final = 4
"""Times that a file is tried."""
FIRST_PAUSE: Final = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
WORKERS: Final = 8
"""Files transferred at once."""
_REMOTE: Final = "moon"
_PARTIAL: Final = ".partial"
_CHUNK: Final = 2**20


class DvcError(ValueError):
    """A repository, a revision, a path or a remote that cannot be read; the message says which."""


class TransferError(RuntimeError):
    """A file that did not arrive after all attempts; calling again goes on where this ended."""


@dataclass(frozen=True, kw_only=True)
class DvcFolder:
    """A tracked folder at one revision.

    Args:
        repository: URL or folder of the Git repository.
        commit: full name of the revision.
        path: of the folder in the repository.
        md5: DVC's name of the folder's content, ending in ``.dir``.
        size: bytes of all files, where DVC tells it; else 0.
        files: name below ``path`` -> MD5.
        open: opens a file by its name, for reading from any position.
    """

    repository: str
    commit: str
    path: str
    md5: str
    size: int
    files: Mapping[str, str]
    open: Callable[[str], IO[bytes]]


@contextmanager
def open_folder(repository: str, revision: str, path: str, remote: str = "") -> Iterator[DvcFolder]:
    """Reads the list of files of a tracked folder.

    Args:
        repository: URL of a Git repository, or its folder.
        revision: commit, tag or branch; empty takes the default branch, or HEAD of a folder.
        path: of the folder in the repository.
        remote: where the data lies, a folder or a URL; empty takes the environment variable ``MOON_DVC_REMOTE``, and
            without it what the repository names. An S3 store reads ``AWS_ENDPOINT_URL`` and the other ``AWS_``
            variables.

    Raises:
        DvcError: there is no such repository, revision or tracked folder, or its list of files cannot be had.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo.open_repo import clean_repos
    from dvc_data.index import DataIndexDirError

    path = path.strip("/")
    where = f"'{path}' of {repository} at {revision or 'its newest revision'}"
    if Path(repository).is_dir():
        # A name of its own, and the last commit: without a revision DVC would read the working tree of a folder.
        repository, revision = str(Path(repository).resolve()), revision or "HEAD"
    with tempfile.TemporaryDirectory() as scratch:
        config = configuration(remote)
        config["core"]["site_cache_dir"] = scratch
        try:
            try:
                system = DVCFileSystem(repository, rev=revision or None, config=config)
                folder = _read(system, repository, path, where)
            except DataIndexDirError as error:
                raise DvcError(
                    f"the list of files of {where} cannot be had: {cause_of(error)}; has the remote the data "
                    f"('dvc push'), and is it the right one ({REMOTE_VARIABLE})?"
                ) from None
            except DvcException as error:
                raise DvcError(
                    f"cannot read {where}: {cause_of(error)}; give a repository and a revision that can be had"
                ) from None
            except FileNotFoundError:
                raise DvcError(f"{where} does not exist; give a path that DVC tracks at that revision") from None
            except RecursionError:  # DVC walks in a circle through a name such as '..'
                raise DvcError(f"the list of files of {where} leads out of the folder; do not use it") from None
            yield folder
        finally:
            clean_repos()


def transfer(
    folder: DvcFolder, names: Collection[str], out: Path, workers: int = WORKERS, attempts: int = ATTEMPTS
) -> int:
    """Brings files of a folder below ``out``, and proves that each has its MD5.

    A file appears under its name when it is whole and right. One that is there already is not transferred, one that
    was cut off goes on where it ended, and what fails is tried again.

    Args:
        folder: opened by `open_folder`.
        names: of the files.
        out: gets them under the same names.
        workers: files at once.
        attempts: tries of each file.

    Returns:
        Bytes that were transferred.

    Raises:
        DvcError: the remote does not have a file.
        TransferError: a file could not be had, or is not what the revision names.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_bring, folder, name, out / name, attempts) for name in names]
        try:
            return sum(one.result() for one in track(as_completed(futures), "fetch", total=len(futures)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def configuration(remote: str = "") -> dict[str, Any]:
    """What is set over the configuration of a repository; a remote folder becomes absolute.

    Args:
        remote: as of `open_folder`.
    """
    remote = remote or os.environ.get(REMOTE_VARIABLE, "")
    if not remote:
        return {"core": {}}
    url = remote if "://" in remote else str(Path(remote).resolve())
    return {"core": {"remote": _REMOTE}, "remote": {_REMOTE: {"url": url}}}


def tree_md5(files: Mapping[str, str]) -> str:
    """DVC's name of a folder whose files have these MD5s."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for name, md5 in files.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    return str(tree.hash_info.value)


def cause_of(error: BaseException) -> str:
    """What lies at the bottom of a chain of errors, on one line; DVC's own message may be but "SCM error"."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return " ".join(str(error).split())


def _read(system: Any, repository: str, path: str, where: str) -> DvcFolder:
    about = system.info(path)
    if not about.get("dvc_info"):
        raise DvcError(f"{where} is not tracked by DVC: version it with 'moon data snapshot' or 'dvc add {path}'")
    if about["type"] != "directory":
        raise DvcError(f"{where} is a {about['type']}, expected a folder")
    found = {
        PurePosixPath(name).relative_to(path).as_posix(): one for name, one in system.find(path, detail=True).items()
    }
    for name, one in found.items():
        if ".." in PurePosixPath(name).parts or "\\" in name:
            raise DvcError(f"the list of files of {where} leads out of the folder: '{name}'; do not use it")
        if not one.get("md5"):
            raise DvcError(
                f"{where} names '{name}' without an MD5 as DVC 3 writes it; run 'dvc cache migrate --dvc-files'"
            )
    files = {name: str(one["md5"]) for name, one in found.items()}
    md5 = tree_md5(files)
    if about.get("md5", md5) != md5:
        raise DvcError(f"the list of files of {where} has MD5 {md5}, the revision names {about['md5']}; push it again")
    return DvcFolder(
        repository=repository,
        commit=str(system.repo.get_rev()),
        path=path,
        md5=md5,
        size=int(about.get("size") or 0),
        files=files,
        open=lambda name: system.open(f"{path}/{name}", "rb"),
    )


def _bring(folder: DvcFolder, name: str, target: Path, attempts: int) -> int:
    """Brings one file; returns the bytes that were transferred."""
    md5 = folder.files[name]
    if target.is_file() and _md5(target) == md5:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + _PARTIAL)
    brought, said = 0, ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _append(folder, name, partial, before)
        except FileNotFoundError:
            raise DvcError(
                f"the remote of {folder.repository} does not have {folder.path}/{name} (MD5 {md5}) of "
                f"{folder.commit}; push it there with 'dvc push', or name another remote by {REMOTE_VARIABLE}"
            ) from None
        except Exception as error:  # the drivers of stores share no base class
            said = f"{type(error).__name__}: {error}"
            continue
        finally:
            brought += max(partial.stat().st_size - before, 0) if partial.exists() else 0
        found = _md5(partial)
        if found == md5:
            os.replace(partial, target)
            return brought
        partial.unlink()  # the next attempt starts anew
        said = f"its MD5 is {found}, expected {md5}"
    raise TransferError(
        f"{folder.path}/{name} of {folder.repository} at {folder.commit} did not arrive after {attempts} attempts: "
        f"{said}; run the same again, it goes on where it stopped"
    )


def _append(folder: DvcFolder, name: str, partial: Path, begin: int) -> None:
    with folder.open(name) as source, partial.open("ab") as target:
        if begin:
            source.seek(begin)
        shutil.copyfileobj(source, target, _CHUNK)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
