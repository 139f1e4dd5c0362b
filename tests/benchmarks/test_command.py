"""Benchmarks end as stages do: a sentence and exit code 2 on bad input, before anything is measured."""

from importlib import import_module

import pytest

from pipeline.benchmarks.command import command_line, run_command

LENGTH = ("detector_times", "dst_overhead", "layers", "loading", "throughput")
WRONG = [
    ("architectures", "--limit -1", "--limit is -1"),
    *((name, "--minutes 0", "--minutes is 0") for name in LENGTH),
    *((name, "--rounds 0", "--rounds is 0") for name in ("detector_times", "dst_overhead", "throughput")),
    *((name, "--device cuda", "torch sees no GPU") for name in ("architectures", *LENGTH)),
]


@pytest.mark.parametrize(("name", "words", "sentence"), WRONG)
def test_bad_input_ends_in_a_sentence(name, words, sentence, monkeypatch, capsys):
    benchmark = import_module(f"pipeline.benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, *words.split()])
    with pytest.raises(SystemExit) as error:
        run_command(benchmark.main, benchmark.parser())
    assert error.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_a_run_gives_back_what_it_measured(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark"])
    assert run_command(lambda options: options.rounds, command_line("", rounds=3)) == 3
