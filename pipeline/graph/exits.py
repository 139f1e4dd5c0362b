"""How a command of the graph ends: its exit code, and one sentence where it could not do what was asked."""

import signal
import sys
from collections.abc import Callable

from pipeline.errors import InputError


class BuildError(Exception):
    """A stage failed; what it printed last has been shown."""


def exit_code(call: Callable[[], int | None]) -> int:
    """Return a command's exit code: what it returns, 1 for a stage that failed, 2 for bad input, 130 after a signal."""
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return call() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped. The same command goes on from here: trainings resume from their checkpoints.", file=sys.stderr
        )
        return 130
    except OSError as error:  # a full or read-only disk, where no one knew what to say
        place = error.filename or "a file"
        reason = error.strerror or error
        print(f"error: {place} could not be used ({reason}); mend that, and the same command goes on.", file=sys.stderr)
        return 2


def interrupted(*_: object) -> None:
    """Let both signals end a command in one way; another one does not hurry it, or something would be left running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
