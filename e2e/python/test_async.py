"""The asynchronous SDK takes other paths on the wire: its watcher is a stream,
its commands stream in the background, and one connection pool serves all."""

import asyncio
import hashlib
import os

import pytest
from conftest import ENDED, VERSION, record
from e2b import (
    AsyncSandbox,
    CommandExitException,
    FilesystemEventType,
    NotFoundException,
    PtySize,
    TimeoutException,
)


def with_sandbox(body):
    """Makes a test of a coroutine function that takes a new sandbox."""

    def test():
        async def main():
            sandbox = await AsyncSandbox.create(timeout=120)
            record(sandbox)
            try:
                await asyncio.wait_for(body(sandbox), 60)
            finally:
                await sandbox.kill()

        asyncio.run(main())

    test.__name__ = body.__name__
    return test


class Screen:
    """Collects output until a part of it appears."""

    def __init__(self):
        self.text = ""
        self.changed = asyncio.Event()

    def add(self, chunk):
        self.text += chunk if isinstance(chunk, str) else chunk.decode(errors="replace")
        self.changed.set()

    async def until(self, part, timeout=60):
        try:
            async with asyncio.timeout(timeout):
                while part not in self.text:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {part!r} in {self.text!r}") from None


@with_sandbox
async def test_lifecycle(sandbox):
    assert await sandbox.is_running()
    other = await AsyncSandbox.connect(sandbox.sandbox_id)
    assert (await other.get_info()).sandbox_id == sandbox.sandbox_id
    await sandbox.set_timeout(60)
    assert sandbox.sandbox_id in [s.sandbox_id for s in await AsyncSandbox.list().next_items()]
    assert await sandbox.kill() is True
    assert not await sandbox.is_running()
    assert await sandbox.kill() is False
    with pytest.raises(NotFoundException):
        await sandbox.get_info()


@with_sandbox
async def test_commands(sandbox):
    assert (await sandbox.commands.run('python3 -c "print(6*7)"')).stdout == "42\n"
    with pytest.raises(CommandExitException):
        await sandbox.commands.run("exit 5")
    with pytest.raises(TimeoutException):
        await sandbox.commands.run("sleep 60", timeout=1)
    results = await asyncio.gather(*(sandbox.commands.run(f"echo {n}") for n in range(12)))
    assert [r.stdout for r in results] == [f"{n}\n" for n in range(12)]


@with_sandbox
async def test_streams(sandbox):
    screen = Screen()
    command = await sandbox.commands.run(
        'echo one; read answer; echo "got $answer"', background=True, stdin=True, on_stdout=screen.add
    )
    await screen.until("one\n")
    await sandbox.commands.send_stdin(command.pid, "it\n")
    assert (await command.wait()).stdout == "one\ngot it\n"
    sleeper = await sandbox.commands.run("sleep 60", background=True)
    assert await sleeper.kill() is True
    with pytest.raises(CommandExitException):
        await sleeper.wait()


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no stream_input")
@with_sandbox
async def test_an_input_stream_stays_open(sandbox):
    screen = Screen()
    command = await sandbox.commands.run(
        'while read line; do echo "<$line>"; done', background=True, stdin=True, on_stdout=screen.add
    )
    input_stream = sandbox.commands.stream_input(command.pid)
    for word in ("one", "two", "three"):
        await input_stream.send(word + "\n")
        await screen.until(f"<{word}>")
    await input_stream.close()
    await sandbox.commands.close_stdin(command.pid)
    assert (await command.wait()).exit_code == 0


# A shell that is about to prompt may undo a new size for a moment.
AT_LAST = b"until test \"$(stty size)\" = '40 120'; do sleep 0.1; done; echo \"<$(stty size)>\"\n"


@with_sandbox
async def test_pty(sandbox):
    screen = Screen()
    terminal = await sandbox.pty.create(PtySize(rows=24, cols=80), on_data=screen.add)
    await sandbox.pty.send_stdin(terminal.pid, b'echo "<$(stty size)>"\n')
    await screen.until("<24 80>")
    await sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
    await sandbox.pty.send_stdin(terminal.pid, AT_LAST)
    await screen.until("<40 120>")
    assert await sandbox.pty.kill(terminal.pid) is True


@with_sandbox
async def test_files(sandbox):
    data = os.urandom(20 << 20)
    await sandbox.files.write("big.bin", data)
    inside = (await sandbox.commands.run("sha256sum < big.bin")).stdout.split()[0]
    assert inside == hashlib.sha256(data).hexdigest()
    assert bytes(await sandbox.files.read("big.bin", format="bytes")) == data
    chunks = [c async for c in await sandbox.files.read("big.bin", format="stream")]
    assert b"".join(chunks) == data
    assert [e.name for e in await sandbox.files.list(".") if e.name == "big.bin"] == ["big.bin"]


@with_sandbox
async def test_watch(sandbox):
    events = asyncio.Queue()
    await sandbox.files.make_dir("watched")
    handle = await sandbox.files.watch_dir("watched", events.put, recursive=True)

    async def saw(kind, name):
        while True:
            event = await asyncio.wait_for(events.get(), 15)
            if (event.type, event.name) == (kind, name):
                return

    await sandbox.files.write("watched/f", "x")
    await saw(FilesystemEventType.CREATE, "f")
    await sandbox.files.remove("watched/f")
    await saw(FilesystemEventType.REMOVE, "f")
    await handle.stop()


@with_sandbox
async def test_killed_during_a_command(sandbox):
    command = await sandbox.commands.run("sleep 60", background=True)
    await sandbox.kill()
    with pytest.raises(TimeoutException, match=ENDED):
        await command.wait()
