"""Why a test may be skipped: what a clone cannot hold. Any other reason fails the run and is named at its end."""

import re
from collections.abc import Iterable

import pytest

ALLOWED = (
    "no small disk can be mounted here",
    "no CUDA device is at hand",
    r"no C\+\+ compiler is at hand",
    "no Chromium is at hand",
    r"data/photographs/\w+ is not here: python -m pipeline\.stages\.fetch --preset \w+",
)


def unexpected(reasons: Iterable[str]) -> list[str]:
    """Return the reasons, each once, that `ALLOWED` does not have."""
    return sorted({reason for reason in reasons if not any(re.fullmatch(allowed, reason) for allowed in ALLOWED)})


def found(config: pytest.Config) -> list[str]:
    """Return the unexpected reasons of a run; a process of xdist has no terminal and leaves them to the first one."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    skipped = terminal.stats.get("skipped", []) if terminal else []
    return unexpected(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if found(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in found(terminalreporter.config):
        terminalreporter.write_line(f"A test was skipped for a reason that tests/skips.py does not have: {reason}")
