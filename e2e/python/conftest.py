"""What every case needs, and the report: one JSON line a case on descriptor 3."""

import json
import os
import re

import pytest
from e2b import Sandbox
from wait import eventually

VERSION = tuple(int(n) for n in os.environ["E2E_SDK_VERSION"].split("."))

# How the SDK words that a sandbox ended under a running command.
ENDED = "killed or reached its end of life"


def create(**opts) -> Sandbox:
    """Creates a sandbox and records its id for the check of what is left."""
    opts.setdefault("timeout", 120)
    sandbox = Sandbox.create(**opts)
    record(sandbox)
    return sandbox


def record(sandbox) -> None:
    with open(os.environ["E2E_IDS"], "a") as f:
        f.write(sandbox.sandbox_id + "\n")


def counter(sandbox, file="counter"):
    """Starts a program that counts in a file, and returns its command."""
    script = f"n=0; while :; do n=$((n+1)); echo $n > {file}.new; mv {file}.new {file}; sleep 0.02; done"
    command = sandbox.commands.run(script, background=True, timeout=0)
    eventually("it counts", lambda: count(sandbox, file))
    return command


def count(sandbox, file="counter"):
    """How far a counter is; 0 if there is none."""
    return int(sandbox.commands.run(f"cat {file} 2>/dev/null || echo 0").stdout)


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox that the cases of a file share."""
    s = create(envs={"FROM_CREATE": "yes"})
    yield s
    s.kill()


@pytest.fixture
def own():
    """Creates sandboxes that end with the case."""
    made = []

    def make(**opts):
        made.append(create(**opts))
        return made[-1]

    yield make
    for s in made:
        s.kill()


def pytest_configure(config):
    config.e2e_report = os.fdopen(3, "w", buffering=1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    # A case passes by its call; set-up and tear-down count when they fail.
    if report.when != "call" and report.passed:
        return
    name = re.sub(r"^test_", "", item.path.stem) + "/" + re.sub(r"^test_", "", item.name)
    if report.when == "teardown":
        name += "/teardown"
    status = "skip" if report.skipped else "pass" if report.passed else "fail"
    message = report.longrepr[2] if report.skipped else report.longreprtext
    line = {"name": name, "status": status, "seconds": report.duration, "message": message}
    item.config.e2e_report.write(json.dumps(line) + "\n")
