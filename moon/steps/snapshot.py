"""Step: makes a drop of the catalogue a version that a commit names and the remote holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moon.catalog.dvc_folder import DvcError, cause_of, configuration, open_folder
from moon.catalog.store import Catalog, replacing
from moon.steps import fetch, outcome
from moon.steps.git import asked, git


@dataclass(frozen=True, kw_only=True)
class SnapshotResult:
    """The version."""

    commit: str
    """What names it: fetch this revision."""
    path: str
    """Of the catalogue in the repository."""
    md5: str
    """DVC's name of the content."""
    digest: str
    """Version of the data: digest over all shards."""
    bytes: int
    files: int
    new_files: int
    """Files that the version before did not have."""
    gone_files: int
    """Files of the version before that this one does not have."""
    changed: bool
    """Whether there was anything to commit."""
    pushed: bool
    tag: str


def run(
    *,
    drop: Path,
    repository: Path,
    path: str = "data",
    message: str = "",
    tag: str = "",
    remote: str = "",
    push: bool = True,
    out: Path,
) -> SnapshotResult:
    """Puts the catalogue ``drop`` to ``path`` of a repository, stores it by DVC and commits its DVC file.

    The data is in the remote before a commit names it. Nothing else that is changed or staged enters the commit.
    Repeated or interrupted, it ends the same; a content that is the current version already makes no commit. `git push`
    is left to you.

    Args:
        drop: a catalogue folder; the folder ``path`` itself may be given.
        repository: folder of a Git repository with DVC ('dvc init').
        path: where the catalogue lies in it.
        message: of the commit; empty tells the number of products.
        tag: gives the commit a name, such as ``2026-11-23``.
        remote: as of `moon.catalog.dvc_folder.open_folder`.
        push: whether to send the data to the remote.
        out: where to write the result.

    Raises:
        ValueError: ``drop`` is no catalogue, the repository is none or has no remote, ``path`` holds changes that no
            version has, or the tag is taken.
    """
    digest = Catalog.open(drop).digest()
    root = Path(git(repository, "rev-parse", "--show-toplevel"))
    target = (repository / path).resolve()
    if not target.is_relative_to(root.resolve()):
        raise ValueError(f"{target} is outside the repository {root}; give a path within it")
    pointer = target.with_name(f"{target.name}.dvc")
    before = _files(root, target, remote)
    with _opened(repository, remote) as repo:
        if drop.resolve() != target and not _holds(target, digest):
            _check_unchanged(repo, target, pointer)
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as partial:
                fetch.copy(drop, partial)
        md5, size = _add(repo, target)
        _check_tag(root, tag, pointer)
        if push:
            _push(repo, pointer)
    products = Catalog.open(target).table("products", ["product_id"]).num_rows
    said = message or f"Catalogue {digest[:12]} with {products} products"
    changed = _commit(root, pointer, said)
    commit = git(root, "log", "-1", "--format=%H", "--", str(pointer))
    if tag and not _is_tag(root, tag):
        git(root, "tag", "-a", tag, "-m", said, commit)
    after = _files(root, target, remote)
    return outcome.save(
        out,
        SnapshotResult(
            commit=commit,
            path=target.relative_to(root.resolve()).as_posix(),
            md5=md5,
            digest=digest,
            bytes=size,
            files=len(after),
            new_files=len(after.items() - before.items()),
            gone_files=len(before.keys() - after.keys()),
            changed=changed,
            pushed=push,
            tag=tag,
        ),
    )


def _opened(repository: Path, remote: str) -> Any:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        settings = configuration(remote)
        settings["core"]["autostage"] = True  # without it DVC prints what to type
        return Repo(str(repository), config=settings)
    except DvcException as error:
        raise DvcError(f"{repository} has no DVC: {cause_of(error)}; run 'dvc init' there") from None


def _holds(target: Path, digest: str) -> bool:
    """Whether a folder is the catalogue already, as after an interrupted snapshot."""
    try:
        return Catalog.open(target).digest() == digest
    except ValueError:
        return False


def _check_unchanged(repo: Any, target: Path, pointer: Path) -> None:
    """Refuses to replace what could not be brought back.

    Raises:
        ValueError: a folder that no version names.
    """
    if not target.exists():
        return
    if not pointer.is_file() or repo.status(targets=[str(pointer)]):
        raise ValueError(
            f"{target} holds what no version has, and would be lost; version it first with "
            f"'moon data snapshot {target}', or remove it"
        )


def _add(repo: Any, target: Path) -> tuple[str, int]:
    """MD5 and size of a folder that DVC tracks from now on."""
    from dvc.exceptions import DvcException

    try:
        (stage,) = repo.add([str(target)])
    except DvcException as error:
        raise DvcError(f"DVC cannot track {target}: {cause_of(error)}") from None
    (out,) = stage.outs
    return str(out.hash_info.value), int(out.meta.size or 0)


def _push(repo: Any, pointer: Path) -> None:
    from dvc.exceptions import DvcException

    try:
        repo.push(targets=[str(pointer)])
    except DvcException as error:
        raise DvcError(
            f"the data cannot be sent to its remote, nothing was committed: {cause_of(error)}; set a remote with "
            "'dvc remote add -d', --remote or MOON_DVC_REMOTE, or give --no-push"
        ) from None


def _commit(root: Path, pointer: Path, message: str) -> bool:
    """Commits the DVC file and what tells Git to leave the data alone; whether there was a change."""
    paths = [str(path) for path in (pointer, pointer.with_name(".gitignore")) if path.is_file()]
    git(root, "add", "--", *paths)
    if not git(root, "status", "--porcelain", "--", *paths):
        return False
    git(root, "commit", "--quiet", "-m", message, "--", *paths)
    return True


def _check_tag(root: Path, tag: str, pointer: Path) -> None:
    """Refuses a tag that names another version.

    Raises:
        ValueError: it is taken.
    """
    if not tag or not _is_tag(root, tag):
        return
    named = asked(root, "show", f"refs/tags/{tag}:{pointer.relative_to(root.resolve()).as_posix()}")
    if named != pointer.read_text(encoding="utf-8").rstrip("\n"):
        raise ValueError(f"tag '{tag}' names another version already, nothing was committed; choose another one")


def _is_tag(root: Path, tag: str) -> bool:
    return asked(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}") is not None


def _files(root: Path, target: Path, remote: str) -> dict[str, str]:
    """Name -> MD5 of the committed version; empty where there is none."""
    path = target.relative_to(root.resolve()).as_posix()
    if asked(root, "cat-file", "-e", f"HEAD:{path}.dvc") is None:
        return {}
    try:
        with open_folder(str(root), "HEAD", path, remote) as folder:
            return dict(folder.files)
    except DvcError:
        return {}
