"""Waiting for what the API lets us only ask for."""

import time


def eventually(what, ask, timeout=60):
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.05)
