"""Benchmarks end as stages do: a sentence and exit code 2 on bad input."""

import argparse

import pytest

from pipeline.benchmarks.command import run_command
from pipeline.errors import InputError


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser()
    found.add_argument("--rounds", type=int, default=3)
    return found


def test_bad_input_ends_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "--rounds", "0"])

    def main(options: argparse.Namespace) -> int:
        if options.rounds < 1:
            raise InputError(f"--rounds is {options.rounds}, but must be 1 or more.")
        return 10 * options.rounds

    with pytest.raises(SystemExit) as error:
        run_command(main, parser())
    assert error.value.code == 2
    assert capsys.readouterr().err == "error: --rounds is 0, but must be 1 or more.\n"
    monkeypatch.setattr("sys.argv", ["benchmark"])
    assert run_command(main, parser()) == 30
