"""A real disk of some megabytes: a tmpfs in a mount namespace of its own, which needs no rights and leaves nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from graph_project import Project

MOUNT = 'mount -t tmpfs -o size="$0m" tmpfs "$1" && echo mounted && exec cat'
NONE = "no small disk can be mounted here"


class SmallDisk:
    """Mounted at `folder` for commands that run `inside`; everybody else finds its files below `seen`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        """Mount it; skip the test where that is not allowed."""
        folder.mkdir()
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(megabytes), str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        try:
            self.holder = subprocess.Popen(command, **pipes)
        except FileNotFoundError:
            pytest.skip(NONE)
        if self.holder.stdout.readline() != "mounted\n":
            pytest.skip(NONE)
        self.folder, self.seen = folder, Path(f"/proc/{self.holder.pid}/root{folder}")

    def inside(self, folder: Path, command: tuple[str, ...]) -> list[str]:
        """Return a command that runs in a folder of the disk."""
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(self.holder.pid)]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]

    def fill(self) -> None:
        """Leave no byte."""
        with open(self.seen / "ballast", "ab", buffering=0) as file:
            try:
                while file.write(bytes(2**20)):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        (self.seen / "ballast").unlink()

    def close(self) -> None:
        """End the namespace, and the disk with it."""
        self.holder.communicate("")


class DiskProject(Project):
    """A project on a small disk."""

    def __init__(self, disk: SmallDisk) -> None:
        super().__init__(disk.seen / "project")
        self.disk, self.place = disk, disk.folder / "project"
        self.environment |= {"XDG_CACHE_HOME": str(disk.folder.parent / "xdg"), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, *command: str) -> list[str]:
        return self.disk.inside(self.place, command)
