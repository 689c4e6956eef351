import json
import os
import re
import time
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
from conftest import ENDED, VERSION, create
from e2b import (
    AuthenticationException,
    NotFoundException,
    Sandbox,
    SandboxException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from wait import eventually

NOBODY = "i" + "0" * 20
STRANGER_KEY = "e2b_" + "0" * 40


def lifetime(info):
    return (info.end_at - info.started_at).total_seconds()


def gone():
    """What the SDK raises when it knows that the sandbox ended."""
    if VERSION >= (2, 63, 0):
        from e2b import SandboxNotRunningException

        return SandboxNotRunningException
    return TimeoutException


def test_create_with_defaults(own):
    s = own(timeout=None)
    assert re.fullmatch(r"i[a-z0-9]{20}", s.sandbox_id)
    assert s.is_running()
    info = s.get_info()
    assert (info.sandbox_id, info.state, info.name) == (s.sandbox_id, SandboxState.RUNNING, "base")
    assert info.metadata == {} and info.template_id
    assert info.cpu_count >= 1 and info.memory_mb >= 128
    assert abs(lifetime(info) - 300) < 10


def test_create_with_metadata_environment_and_timeout(own):
    metadata = {"who": "e2e ü/&=", "n": "1"}
    s = own(metadata=metadata, envs={"GREETING": 'hello "you"'}, timeout=77)
    info = s.get_info()
    assert info.metadata == metadata
    assert abs(lifetime(info) - 77) < 10
    out = s.commands.run('echo "$GREETING|$E2B_SANDBOX|$E2B_SANDBOX_ID"').stdout
    assert out == f'hello "you"|true|{s.sandbox_id}\n'


@pytest.mark.skipif(VERSION >= (2, 63, 0), reason="this SDK always creates secured sandboxes")
def test_create_without_secure(own):
    s = own(secure=False)
    assert s.commands.run("echo open").stdout == "open\n"


def test_what_a_hand_written_client_creates_is_open():
    def ask(path, body, headers):
        request = urllib.request.Request(os.environ["E2B_API_URL"] + path, json.dumps(body).encode(), headers | {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    made = ask("/sandboxes", {"templateID": "base", "timeout": 60}, {"X-API-Key": os.environ["E2B_API_KEY"]})
    try:
        assert "envdAccessToken" not in made
        to_agent = {"E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "49983"}
        entry = ask("/filesystem.Filesystem/Stat", {"path": "/home/user"}, to_agent)["entry"]
        assert entry["type"] == "FILE_TYPE_DIRECTORY"
    finally:
        assert Sandbox.kill(made["sandboxID"]) is True


def test_create_without_internet_access(own):
    s = own(allow_internet_access=False)
    assert s.get_info().allow_internet_access is False
    assert s.commands.run("echo alone").stdout == "alone\n"


def test_what_a_sandbox_may_reach(own):
    s = own(network={"allow_out": ["1.1.1.1"], "deny_out": ["0.0.0.0/0"]})
    assert s.commands.run("curl -sS -m 20 http://9.9.9.9/ || echo $?").stdout == "7\n"  # Could not connect, at once; a timeout is 28.
    if not hasattr(s, "update_network"):
        return
    s.update_network({"deny_out": ["9.9.9.0/24"]})
    s.update_network({"allow_internet_access": False, "allow_out": ["1.1.1.1"]})
    assert s.get_info().allow_internet_access is False
    s.update_network({})
    assert s.get_info().allow_internet_access is not False


def test_context_manager():
    with create() as s:
        assert s.is_running()
    assert not s.is_running()


def test_connect_by_id(own):
    s = own()
    s.files.write("shared.txt", "one machine")
    other = Sandbox.connect(s.sandbox_id)
    assert other.sandbox_id == s.sandbox_id
    assert other.files.read("shared.txt") == "one machine"
    assert other.commands.run("cat shared.txt").stdout == "one machine"


def test_connect_extends_and_never_shortens(own):
    s = own(timeout=100)
    first = s.get_info().end_at
    Sandbox.connect(s.sandbox_id, timeout=20)
    assert s.get_info().end_at == first
    s.connect(timeout=400)
    assert s.get_info().end_at - first > timedelta(seconds=290)


def test_set_timeout(own):
    s = own()
    for seconds in (500, 50):
        begin = datetime.now(timezone.utc)
        s.set_timeout(seconds)
        end, end_at = datetime.now(timezone.utc), s.get_info().end_at
        assert end_at - begin > timedelta(seconds=seconds - 2)
        assert end_at - end < timedelta(seconds=seconds + 2)


def test_dies_of_its_timeout(own):
    s = own()
    Sandbox.set_timeout(s.sandbox_id, 1)
    eventually("not running", lambda: not s.is_running())
    with pytest.raises(NotFoundException):
        s.get_info()
    assert s.kill() is False


def test_kill_and_kill_again(own):
    s = own()
    assert s.kill() is True
    assert s.is_running() is False
    assert s.kill() is False
    assert Sandbox.kill(s.sandbox_id) is False


def test_kill_during_a_running_command(own):
    s = own()
    command = s.commands.run("sleep 60", background=True)
    assert s.kill()
    started = time.monotonic()
    with pytest.raises(gone(), match=ENDED):
        command.wait()
    assert time.monotonic() - started < 45


def test_a_request_to_a_killed_sandbox(own):
    s = own()
    s.kill()
    for ask in (lambda: s.commands.run("true"), lambda: s.files.read("a"), lambda: s.files.list("/")):
        with pytest.raises(gone(), match="was not found"):
            ask()


def test_two_sandboxes_are_isolated(own):
    a, b = own(), own()
    a.files.write("/tmp/mine", "a")
    assert not b.files.exists("/tmp/mine")
    sleeper = a.commands.run("exec -a only-in-a sleep 60", background=True)

    def visible(s):
        return s.commands.run("grep -al only-in-[a] /proc/[0-9]*/cmdline || true").stdout

    eventually("visible in its own", lambda: visible(a))
    assert visible(b) == ""
    assert b.commands.kill(sleeper.pid) is False
    assert sleeper.kill() is True


def test_list(own):
    mark = f"py-{VERSION}-{time.time_ns()} &=/ü"
    made = [own(metadata={"mark": mark, "n": str(n)}) for n in range(3)]
    newest_first = [s.sandbox_id for s in reversed(made)]

    def ids(paginator):
        found = []
        while paginator.has_next:
            found += [s.sandbox_id for s in paginator.next_items()]
        return found

    by_mark = SandboxQuery(metadata={"mark": mark})
    assert ids(Sandbox.list(query=by_mark)) == newest_first
    assert ids(Sandbox.list(query=by_mark, limit=2)) == newest_first
    first_page = Sandbox.list(query=by_mark, limit=2)
    assert len(first_page.next_items()) == 2 and first_page.has_next
    both = SandboxQuery(metadata={"mark": mark, "n": "1"}, state=[SandboxState.RUNNING, SandboxState.PAUSED])
    assert ids(Sandbox.list(query=both)) == [made[1].sandbox_id]
    assert ids(Sandbox.list(query=SandboxQuery(metadata={"mark": mark}, state=[SandboxState.PAUSED]))) == []
    assert set(newest_first) <= set(ids(Sandbox.list()))


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no such filters")
def test_list_by_order_start_and_template(own):
    mark = f"py-order-{time.time_ns()}"
    made = [own(metadata={"mark": mark}).sandbox_id for _ in range(3)]

    def ids(order=None, **query):
        found = Sandbox.list(query=SandboxQuery(metadata={"mark": mark}, **query), order=order).next_items()
        return [s.sandbox_id for s in found]

    assert ids(order="asc") == made
    assert ids(order="desc") == made[::-1]
    middle = Sandbox.get_info(made[1]).started_at
    assert ids(order="asc", started_after=middle) == made[1:]
    assert ids(template="base", order="asc") == made
    assert ids(template="no-such-template") == []


def test_an_unknown_key():
    for ask in (
        lambda: Sandbox.create(api_key=STRANGER_KEY),
        lambda: Sandbox.get_info(NOBODY, api_key=STRANGER_KEY),
        lambda: Sandbox.list(api_key=STRANGER_KEY).next_items(),
    ):
        with pytest.raises(AuthenticationException):
            ask()


def test_an_unknown_template():
    for name in ("no-such-template", "no/such", "base:no-such-tag", "../base"):
        with pytest.raises(SandboxException, match="^40[04]: "):
            Sandbox.create(name)


def test_an_unknown_sandbox():
    for ask in (
        lambda: Sandbox.connect(NOBODY),
        lambda: Sandbox.get_info(NOBODY),
        lambda: Sandbox.set_timeout(NOBODY, 1),
    ):
        with pytest.raises(NotFoundException):
            ask()
    assert Sandbox.kill(NOBODY) is False


def test_a_timeout_that_cannot_be():
    for timeout in (-1, 2**40):
        with pytest.raises(SandboxException, match="^400: "):
            Sandbox.create(timeout=timeout)


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK sends no key")
def test_an_idempotency_key(own):
    key = f"e2e-{time.time_ns()}"
    first, again, other = own(idempotency_key=key), own(idempotency_key=key), own(idempotency_key=key + "-2")
    assert again.sandbox_id == first.sandbox_id != other.sandbox_id
    assert again.commands.run("echo same").stdout == "same\n"
