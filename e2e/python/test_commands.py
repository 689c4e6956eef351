import hashlib
import threading

import pytest
from conftest import VERSION
from e2b import (
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotFoundException,
    PtySize,
    TimeoutException,
)
from wait import eventually


def out(sandbox, cmd, **opts):
    return sandbox.commands.run(cmd, **opts).stdout.rstrip("\n")


def test_python_says_42(sandbox):
    assert sandbox.commands.run('python3 -c "print(6*7)"').stdout == "42\n"


def test_output_error_and_exit_code(sandbox):
    result = sandbox.commands.run("echo out; echo err >&2")
    assert (result.exit_code, result.stdout, result.stderr, result.error) == (0, "out\n", "err\n", None)
    with pytest.raises(CommandExitException) as failed:
        sandbox.commands.run("echo partial; echo why >&2; exit 3")
    e = failed.value
    assert (e.exit_code, e.stdout, e.stderr, e.error) == (3, "partial\n", "why\n", "exit status 3")


def test_working_directory(sandbox):
    assert out(sandbox, "pwd") == "/home/user"
    assert out(sandbox, "pwd", cwd="/tmp") == "/tmp"
    with pytest.raises(InvalidArgumentException, match="cwd '/not/there' does not exist"):
        sandbox.commands.run("pwd", cwd="/not/there")


def test_user(sandbox):
    assert out(sandbox, "whoami; echo $HOME; id -u") == "user\n/home/user\n1000"
    assert out(sandbox, "whoami; echo $HOME; id -u", user="root") == "root\n/root\n0"
    with pytest.raises(AuthenticationException, match="invalid username: 'nobody-here'"):
        sandbox.commands.run("true", user="nobody-here")


def test_environment(sandbox):
    assert out(sandbox, 'echo "$FROM_CREATE/$ONE"', envs={"ONE": "a b"}) == "yes/a b"
    assert out(sandbox, 'echo "[$ONE]"') == "[]"


def test_timeout_kills_the_command(sandbox):
    with pytest.raises(TimeoutException):
        sandbox.commands.run("exec -a overslept sleep 60", timeout=1)
    eventually("the process is gone", lambda: out(sandbox, "grep -al overslep[t] /proc/[0-9]*/cmdline || true") == "")


def test_big_output(sandbox):
    got = sandbox.commands.run('python3 -c "import sys; sys.stdout.write(chr(233) * 1500000)"').stdout
    assert hashlib.sha256(got.encode()).digest() == hashlib.sha256(("é" * 1_500_000).encode()).digest()


def test_callbacks(sandbox):
    seen, errors = [], []
    sandbox.commands.run("echo one; echo two >&2; echo three", on_stdout=seen.append, on_stderr=errors.append)
    assert "".join(seen) == "one\nthree\n" and "".join(errors) == "two\n"


def test_a_background_command_streams(sandbox):
    command = sandbox.commands.run('echo one; read answer; echo "got $answer"', background=True, stdin=True)
    stream = iter(command)
    assert next(stream) == ("one\n", None, None)
    sandbox.commands.send_stdin(command.pid, "it\n")
    assert next(stream) == ("got it\n", None, None)
    assert command.wait().stdout == "one\ngot it\n"


def test_closing_the_input(sandbox):
    command = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.send_stdin(command.pid, "all of it")
    sandbox.commands.close_stdin(command.pid)
    assert command.wait().stdout == "all of it"


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no stream_input")
def test_streamed_input(sandbox):
    command = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.stream_input(command.pid, (f"line {n}\n" for n in range(500)))
    sandbox.commands.close_stdin(command.pid)
    assert command.wait().stdout == "".join(f"line {n}\n" for n in range(500))
    with pytest.raises(NotFoundException):
        sandbox.commands.stream_input(999_999, ["x"])


def test_list_kill_and_exit(sandbox):
    command = sandbox.commands.run("sleep 60", background=True)
    listed = next(p for p in sandbox.commands.list() if p.pid == command.pid)
    assert (listed.cmd, listed.args) == ("/bin/bash", ["-l", "-c", "sleep 60"])
    assert sandbox.commands.kill(command.pid) is True
    with pytest.raises(CommandExitException) as killed:
        command.wait()
    assert killed.value.error == "signal: killed"
    eventually("not listed", lambda: command.pid not in [p.pid for p in sandbox.commands.list()])
    assert sandbox.commands.kill(command.pid) is False


def test_connect(sandbox):
    command = sandbox.commands.run('read line; echo "heard $line"', background=True, stdin=True)
    second = sandbox.commands.connect(command.pid)
    command.disconnect()
    sandbox.commands.send_stdin(command.pid, "you\n")
    assert second.wait().stdout == "heard you\n"
    with pytest.raises(NotFoundException):
        sandbox.commands.connect(999_999)


def test_pty(sandbox):
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), envs={"MARK": "blue"})
    screen, changed = [], threading.Condition()

    def add(data):
        with changed:
            screen.append(data)
            changed.notify_all()

    def text():
        return b"".join(screen).decode(errors="replace")

    def until(part):
        with changed:
            assert changed.wait_for(lambda: part in text(), 15), f"no {part!r} in {text()!r}"

    result = []
    reader = threading.Thread(target=lambda: result.append(terminal.wait(on_pty=add)), daemon=True)
    reader.start()
    sandbox.pty.send_stdin(terminal.pid, b'echo "<$TERM $MARK $(stty size)>"\n')
    until("<xterm-256color blue 24 80>")
    sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
    # A shell that is about to prompt may undo a new size for a moment.
    sandbox.pty.send_stdin(
        terminal.pid, b"until test \"$(stty size)\" = '40 120'; do sleep 0.1; done; echo \"<$(stty size)>\"\n"
    )
    until("<40 120>")
    sandbox.pty.send_stdin(terminal.pid, b"exit 0\n")
    reader.join(15)
    assert result and result[0].exit_code == 0


WHEEL = """
import zipfile
with zipfile.ZipFile("/tmp/tiny-1.0-py3-none-any.whl", "w") as z:
    for name, text in {
        "tiny.py": "def main():\\n    print('tiny')\\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\\ntiny=tiny:main\\n",
        "tiny-1.0.dist-info/RECORD": "",
    }.items():
        z.writestr(name, text)
"""


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="pip takes seconds, and one version of the SDK is enough for it")
def test_the_base_is_a_linux_machine(sandbox):
    """What an agent does first; a wheel of our own, since there is no internet."""
    assert out(sandbox, "python --version") == out(sandbox, "python3 --version")
    assert out(sandbox, "env -i python -c 'import sys; print(sys.prefix)'") == "/usr"
    sandbox.files.write("/tmp/wheel.py", WHEEL)
    out(sandbox, "python /tmp/wheel.py")
    install = "pip install -q --no-index --disable-pip-version-check --no-warn-script-location /tmp/tiny-1.0-py3-none-any.whl"
    for pip, user, place in (
        (install, "user", "/home/user/.local/bin/tiny"),
        (install, "root", "/usr/local/bin/tiny"),
        ("sudo " + install.replace("install", "install --force-reinstall"), "user", "/usr/local/bin/tiny"),
    ):
        out(sandbox, pip, user=user)
        assert out(sandbox, "tiny; which tiny", user=user).splitlines() == ["tiny", place]
        out(sandbox, f"rm {place}", user="root")
    # pip's own environment is the slow part of it.
    out(sandbox, "python -m venv --without-pip v")
    assert out(sandbox, "v/bin/python -c 'import sys; print(sys.prefix)'") == "/home/user/v"
    server = sandbox.commands.run("cd /tmp && python -m http.server 8321", background=True)
    eventually("the server answers", lambda: "print('tiny')" in out(sandbox, "curl -s localhost:8321/wheel.py || true"))
    server.kill()
    assert out(sandbox, "node -e 'console.log(6*7)'") == "42"
    git = "git init -q r && cd r && git -c user.name=a -c user.email=b commit -q --allow-empty -m first && git log --format=%s"
    assert out(sandbox, git) == "first"
