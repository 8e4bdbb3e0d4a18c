# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: how many tests ran on the device, and how many never asked for it.

A test runs on the device of `--backend` only if it takes the fixture `device`. The mark travels in
the reports, so that xdist's controller, which collects nothing, can count too.
"""

import pytest

MARK = "takes_device"
_counts = {True: 0, False: 0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties.append((MARK, "device" in getattr(item, "fixturenames", ())))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        takes_device = dict(report.user_properties).get(MARK)
        if takes_device is not None:
            _counts[takes_device] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"ran on the device: {_counts[True]}; on the CPU, without asking: {_counts[False]}"
    )
