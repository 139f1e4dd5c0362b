"""Settings of the machine: params.yaml's block, the environment over it, and every mistake in one sentence."""

from pathlib import Path

import pytest

from pipeline import launch
from pipeline.errors import InputError
from pipeline.machine import Machine, loader_workers, machine


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Machine.__struct_fields__:
        monkeypatch.delenv(f"SCALEWISE_{name.upper()}", raising=False)


def params(text: str) -> None:
    Path("params.yaml").write_text(f"preset: mini\n{text}")


def test_without_a_block_or_a_file_there_are_defaults():
    assert machine() == Machine()
    params("")
    assert machine() == Machine()
    params("machine:\n")
    assert machine() == Machine()


def test_the_environment_overrides_the_block(monkeypatch):
    params("machine: {workers: 3, processes: gpus, imagenet: /data/in}\n")
    assert machine() == Machine(processes="gpus", workers=3, imagenet="/data/in")
    monkeypatch.setenv("SCALEWISE_WORKERS", "5")
    monkeypatch.setenv("SCALEWISE_TENSORBOARD", "true")
    monkeypatch.setenv("SCALEWISE_PROCESSES", "2")
    assert machine() == Machine(processes="2", workers=5, tensorboard=True, imagenet="/data/in")
    assert loader_workers() == 5
    assert launch.processes() == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("machine: {worker: 3}\n", "params.yaml: machine: unknown key 'worker'; did you mean 'workers'?"),
        ("machine: {workers: -1}\n", "params.yaml: machine: Expected `int` >= 0 - at `$.workers`"),
        ("machine: 3\n", "params.yaml: machine must be a mapping"),
    ],
)
def test_mistakes_in_the_block(text, words):
    params(text)
    with pytest.raises(InputError) as error:
        machine()
    assert words in str(error.value)


def test_mistakes_in_the_environment(monkeypatch):
    monkeypatch.setenv("SCALEWISE_WORKERS", "many")
    with pytest.raises(InputError, match="SCALEWISE_WORKERS is 'many': Expected `int"):
        machine()
