"""A Git repository with DVC, a remote folder beside it, and small catalogues to put in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from moon.catalog.schema import CATALOG_TABLES
from moon.catalog.store import write_card, write_table
from moon.steps import snapshot
from moon.steps.snapshot import SnapshotResult

SHARD = "products/part-00001.parquet"


def write_catalog(root: Path, products: int, name: str = "p") -> Path:
    """A catalogue of products and nothing else, two a shard."""
    rows = [{"product_id": f"{name}{number}", "title": f"{name} {number}"} for number in range(products)]
    for table, schema in CATALOG_TABLES.items():
        write_table(root / table, schema, rows if table == "products" else [], 2)
    write_card(root)
    return root


def git(folder: Path, *arguments: str) -> str:
    """What Git prints."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip


class Repository:
    """Made in ``root/repository``; its data goes to ``root/remote`` unless told otherwise."""

    def __init__(self, root: Path) -> None:
        from dvc.repo import Repo

        self.root, self.folder, self.remote = root, root / "repository", root / "remote"
        self.folder.mkdir(parents=True)
        git(self.folder, "init", "--quiet", "--initial-branch", "main")
        git(self.folder, "config", "user.name", "Test")
        git(self.folder, "config", "user.email", "test@example.com")
        Repo.init(str(self.folder)).close()
        config = f"[core]\n    analytics = false\n    remote = store\n    site_cache_dir = {root / 'site'}\n"
        config += f"['remote \"store\"']\n    url = {self.remote}\n"
        (self.folder / ".dvc" / "config").write_text(config)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "--quiet", "-m", "Start")

    def snapshot(self, drop: Path, tag: str = "", remote: str = "", push: bool = True) -> SnapshotResult:
        """Versions a catalogue."""
        out = self.root / "snapshot"
        return snapshot.run(drop=drop, repository=self.folder, tag=tag, remote=remote, push=push, out=out)

    def stored(self, md5: str) -> Path:
        """The file of the remote that holds a content."""
        return self.remote / "files" / "md5" / md5[:2] / md5[2:]

    def forget(self) -> None:
        """Removes the cache, so that everything comes from the remote."""
        import shutil

        shutil.rmtree(self.folder / ".dvc" / "cache")
