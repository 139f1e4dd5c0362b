"""Snakemake's messages become one line a finished stage."""

from pipeline.graph.progress import Progress, duration

MESSAGES = """Job stats:
job           count
total            2

[Sat Nov 21 02:11:24 2026]
localrule train:
    input: data/code/train.txt
    log: logs/train/x_dst.log
    jobid: 29
    reason: Forced execution
[Sat Nov 21 02:11:25 2026]
rule table:
    log: logs/table/dst_t2.log
    jobid: 63
Finished jobid: 29 (Rule: train)
1 of 2 steps (50%) done
Error in rule table:
    message: None
    jobid: 63
    log: logs/table/dst_t2.log (check log file(s) for error details)
"""


def test_progress(tmp_path):
    said = []
    log = tmp_path / "logs/train/x_dst.log"
    log.parent.mkdir(parents=True)
    log.write_text("Stage 'train@x_dst' is cached - skipping run, checking out outputs\n")
    progress = Progress(said.append, tmp_path)
    for line in MESSAGES.splitlines():
        progress.line(line)
    assert said == [
        "  started  train x_dst   (its progress: logs/train/x_dst.log)",
        "      [1/2] train x_dst   0 s   restored from the cache",
    ]
    assert [(job.name, job.log) for job in progress.failed] == [("table dst_t2", "logs/table/dst_t2.log")]
    assert progress.tail(progress.failed[0], 20) == ""


def test_a_stage_that_ran_is_told_so_however_long_its_progress_bar_was(tmp_path):
    said = []
    log = tmp_path / "logs/train/x_dst.log"
    log.parent.mkdir(parents=True)
    log.write_text("Running stage 'train@x_dst':\n" + "".join(f"{step} it/s\r" for step in range(3000)))
    progress = Progress(said.append, tmp_path)
    for line in MESSAGES.splitlines():
        progress.line(line)
    assert said[1] == "      [1/2] train x_dst   0 s"


def test_durations():
    assert [duration(s) for s in (0.2, 59.4, 60, 185)] == ["0 s", "59 s", "1 min 0 s", "3 min 5 s"]
