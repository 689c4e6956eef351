import os
import time
import urllib.error
import urllib.request

import pytest
from conftest import ENDED, VERSION, counter, count
from e2b import NotFoundException, Sandbox, SandboxException, SandboxQuery, SandboxState, TimeoutException
from wait import eventually

NOBODY = "i" + "0" * 20


def boot_id(s):
    return s.commands.run("cat /proc/sys/kernel/random/boot_id").stdout


def gone():
    """What the SDK raises when it knows that the sandbox does not run."""
    if VERSION >= (2, 63, 0):
        from e2b import SandboxNotRunningException

        return SandboxNotRunningException
    return TimeoutException


def is_paused(s):
    return s.get_info().state == SandboxState.PAUSED


def test_files_and_processes_survive_any_number_of_times(own):
    s = own(metadata={"kept": "yes"})
    data = os.urandom(3_000_000)
    s.files.write("data", data)
    boot = boot_id(s)
    pid = counter(s).pid
    for n in range(3):
        before = count(s)
        s.files.write(f"round-{n}", f"written in round {n}")
        assert s.pause() is not False
        assert s.is_running() is False
        info = s.get_info()
        assert (info.state, info.metadata) == (SandboxState.PAUSED, {"kept": "yes"})
        assert s.pause() is False, "it is paused already"

        again = Sandbox.connect(s.sandbox_id, timeout=120)
        assert again.sandbox_id == s.sandbox_id and s.is_running()
        after = count(again)
        assert after >= before
        eventually("it counts on", lambda: count(again) > after)
        assert pid in [p.pid for p in again.commands.list()]
        for m in range(n + 1):
            assert again.files.read(f"round-{m}") == f"written in round {m}"
    assert boot_id(s) == boot
    assert bytes(s.files.read("data", format="bytes")) == data


def test_a_paused_sandbox_is_listed_as_such(own):
    mark = {"mark": f"py-paused-{time.time_ns()}"}
    s = own(metadata=mark)
    s.pause()

    def ids(state=None):
        return [(i.sandbox_id, i.state) for i in Sandbox.list(query=SandboxQuery(metadata=mark, state=state)).next_items()]

    assert ids([SandboxState.PAUSED]) == ids() == [(s.sandbox_id, SandboxState.PAUSED)]
    assert ids([SandboxState.RUNNING]) == []


def test_a_command_that_runs_breaks_off(own):
    s = own()
    command = s.commands.run("sleep 60", background=True)
    s.pause()
    with pytest.raises(gone(), match=ENDED):
        command.wait()


def test_a_request_does_not_resume(own):
    s = own()
    s.pause()
    with pytest.raises(gone(), match="was not found"):
        s.files.read("a")
    assert is_paused(s)


def test_without_memory_the_files_are_kept_and_it_boots_afresh(own):
    s = own()
    boot = boot_id(s)
    s.files.write("kept", "on disk")
    for _ in range(2):
        s.pause(keep_memory=False)
        assert s.is_running() is False
        Sandbox.connect(s.sandbox_id)
        assert s.files.read("kept") == "on disk"
        assert boot_id(s) != boot


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no such options")
def test_modes_of_the_newer_sdk(own):
    s = own()
    boot = boot_id(s)
    s.files.write("kept", "on disk")
    s.pause(mode="full", strict=True)
    s.connect(on_resume="restore")
    assert boot_id(s) == boot
    s.pause(mode="full", strict=True)
    s.connect(on_resume="reboot")
    assert boot_id(s) != boot
    assert s.files.read("kept") == "on disk"
    boot = boot_id(s)
    s.pause(mode="filesystem")
    s.connect(on_resume="reboot")
    assert boot_id(s) != boot
    with pytest.raises(SandboxException, match="without memory"):
        s.create_snapshot(mode="filesystem")


def test_kill_of_a_paused_sandbox(own):
    s = own()
    s.pause()
    assert s.kill() is True
    assert s.kill() is False
    for ask in (s.get_info, s.pause, lambda: Sandbox.connect(s.sandbox_id), lambda: Sandbox.pause(NOBODY)):
        with pytest.raises(NotFoundException):
            ask()


def test_a_timeout_that_pauses(own):
    s = own(lifecycle={"on_timeout": "pause"})
    assert s.get_info().lifecycle == {"on_timeout": "pause", "auto_resume": False}
    boot = boot_id(s)
    s.files.write("kept", "as it was")
    for _ in range(2):
        s.set_timeout(1)
        eventually("it is paused", lambda: is_paused(s))
        assert s.is_running() is False
        s.connect(timeout=120)
        assert s.files.read("kept") == "as it was"
    assert boot_id(s) == boot


def test_a_timeout_that_pauses_without_memory(own):
    s = own(lifecycle={"on_timeout": {"action": "pause", "keep_memory": False}})
    boot = boot_id(s)
    s.files.write("kept", "on disk")
    s.set_timeout(1)
    eventually("it is paused", lambda: is_paused(s))
    s.connect(timeout=120)
    assert s.files.read("kept") == "on disk"
    assert boot_id(s) != boot


def test_a_request_resumes(own):
    s = own(lifecycle={"on_timeout": "pause", "auto_resume": True})
    assert s.get_info().lifecycle == {"on_timeout": "pause", "auto_resume": True}
    boot = boot_id(s)
    s.files.write("kept", "as it was")
    s.pause()
    assert is_paused(s)
    begin = time.time()
    assert s.files.read("kept") == "as it was"
    info = s.get_info()
    assert info.state == SandboxState.RUNNING
    assert info.end_at.timestamp() - begin > 290
    s.set_timeout(1)
    eventually("it is paused", lambda: is_paused(s))
    assert s.commands.run("cat kept").stdout == "as it was"
    s.pause()
    assert s.is_running() is True
    assert boot_id(s) == boot


def test_a_stranger_at_the_agent_does_not_resume(own):
    s = own(lifecycle={"on_timeout": "pause", "auto_resume": True})
    s.pause()
    request = urllib.request.Request(
        os.environ["E2B_SANDBOX_URL"] + "/health",
        headers={"E2b-Sandbox-Id": s.sandbox_id, "E2b-Sandbox-Port": "49983"},
    )
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(request)
    assert e.value.code == 403
    assert is_paused(s)
