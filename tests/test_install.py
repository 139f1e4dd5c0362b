"""What everybody installs: the lock pins all that is asked for, with hashes; the image copies what is there."""

import re
from pathlib import Path

from pipeline.paths import ROOT

PIN = re.compile(r"([\w.-]+)==(\S+)")


def pins(name: str) -> dict[str, str]:
    """Return the versions that a requirements file pins, by normalised name."""
    found = (PIN.match(line) for line in (ROOT / name).read_text("utf-8").splitlines())
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in found if pin}


def test_the_lock_pins_what_is_asked_for():
    asked, locked = pins("requirements.in"), pins("requirements.txt")
    assert len(asked) > 25
    assert asked.items() <= locked.items(), "requirements.txt lacks pins of requirements.in: run `make lock`"


def test_the_lock_has_a_hash_for_every_package_and_names_no_server():
    text = "\n" + (ROOT / "requirements.txt").read_text("utf-8")
    packages = re.split(r"\n(?=\w)", text)[1:]
    assert len(packages) == len(pins("requirements.txt"))
    assert [package for package in packages if "--hash=sha256:" not in package] == []
    assert not re.search(r"://|--index|--find-links|^/", text, re.M)


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert copied
    assert [path for line in copied for path in line.split() if not Path(ROOT, path).exists()] == []
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.M)
    assert [path for path in kept if not Path(ROOT, path).exists()] == []
