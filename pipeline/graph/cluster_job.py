"""What Snakemake does in a scheduler's job: SIGTERM, which reaches it alone, is passed on to the stage."""

import psutil


def pass_sigterm_on(scheduler: type) -> None:
    """Let a job's Snakemake end its stage at SIGTERM, where it would only wait for it.

    SLURM signals the processes that its daemon started (proctrack/cgroup; others at SIGKILL only), and the one of a
    job's step is Snakemake. The stage's job (`pipeline.graph.job`) then ends the stage, a training with a checkpoint.

    Args:
        scheduler: Snakemake's class of that name, whose method `exit_gracefully` handles SIGTERM.
    """
    wait = scheduler.exit_gracefully

    def exit_gracefully(self: object, *arguments: object) -> None:
        for child in psutil.Process().children():
            child.terminate()
        wait(self, *arguments)  # last: it takes a lock

    scheduler.exit_gracefully = exit_gracefully
