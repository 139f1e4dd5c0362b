"""A plugin of pytest that runs tests on the pretended GPU.

PYTHONPATH=tests/pretend_gpu python -m pytest -p pretended tests/training
"""

import device
import pytest

device.install()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for problem in sorted(set(device.problems)):
        terminalreporter.write_line(f"On the pretended GPU: {problem}")
