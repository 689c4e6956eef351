"""The desktop: e2b-desktop, unmodified, with the template desktop, whose name is the SDK's default."""

import os
import ssl
import struct

import pytest
from conftest import record
from e2b import CommandExitException
from e2b_desktop import Sandbox
from wait import eventually
from websockets.sync.client import connect


def create(**opts):
    sandbox = Sandbox.create(timeout=240, **opts)
    record(sandbox)
    return sandbox


@pytest.fixture(scope="module")
def desktop():
    s = create()
    yield s
    s.kill()


def windows(desktop, application):
    """The ids of its windows; none until it has one."""
    try:
        return desktop.get_application_windows(application)
    except CommandExitException:
        return []


def size_of(png):
    assert bytes(png[:8]) == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def saved(desktop, file):
    return desktop.files.exists(file) and desktop.files.read(file)


def test_a_create_finds_the_desktop_of_the_template(desktop):
    # The display of the template's build, and no other.
    assert desktop.commands.run("pgrep -x Xvfb").stdout == desktop.commands.run("cat /var/lib/desktop/pid").stdout
    assert desktop.commands.run("pgrep -c -x xfce4-session").stdout == "1\n"
    assert desktop.commands.run("id -un; echo $DISPLAY").stdout == "user\n:0\n"


def test_the_screen(desktop):
    assert desktop.get_screen_size() == (1024, 768)
    png = desktop.screenshot()
    assert size_of(png) == (1024, 768)
    assert len(png) > 5000  # It is not one colour.
    assert size_of(b"".join(desktop.screenshot(format="stream"))) == (1024, 768)


def test_the_mouse(desktop):
    desktop.move_mouse(300, 200)
    assert desktop.get_cursor_position() == (300, 200)
    desktop.drag((300, 400), (350, 450))
    assert desktop.get_cursor_position() == (350, 450)
    desktop.scroll("up", 2)
    desktop.scroll("down", 2)
    desktop.left_click(600, 450)
    assert desktop.get_cursor_position() == (600, 450)
    # The menus of the desktop are windows of xfdesktop.
    before = len(windows(desktop, "xfdesktop"))
    for click in desktop.right_click, desktop.middle_click:
        click(700, 500)
        eventually("the menu opens", lambda: len(windows(desktop, "xfdesktop")) > before)
        desktop.press("esc")
        eventually("the menu closes", lambda: len(windows(desktop, "xfdesktop")) == before)


def test_an_editor(desktop):
    desktop.files.write("/home/user/note.txt", "one two\n")
    desktop.open("/home/user/note.txt")
    window = eventually("the editor opens", lambda: windows(desktop, "mousepad"))[-1]
    eventually("it has the focus", lambda: "note.txt" in desktop.get_window_title(desktop.get_current_window_id()))
    assert "note.txt" in desktop.get_window_title(window)
    desktop.press(["ctrl", "a"])
    text = "It's $HOME, \"quoted\" & <longer> than the 25 characters of a piece"
    desktop.write(text)
    desktop.press("enter")
    desktop.press(["ctrl", "s"])
    assert eventually("it is saved", lambda: text in (saved(desktop, "/home/user/note.txt") or ""))
    desktop.press(["ctrl", "q"])
    eventually("it is closed", lambda: not windows(desktop, "mousepad"))


def test_programs_open(desktop):
    desktop.launch("xfce4-terminal")
    eventually("the terminal opens", lambda: windows(desktop, "xfce4-terminal"))
    eventually("it has the focus", lambda: "Terminal" in desktop.get_window_title(desktop.get_current_window_id()))
    desktop.write("echo typed > typed.txt; exit", delay_in_ms=5)
    desktop.press("enter")
    eventually("the command ran", lambda: saved(desktop, "/home/user/typed.txt") == "typed\n")
    eventually("it is closed", lambda: not windows(desktop, "xfce4-terminal"))
    # The icon "Home" on the desktop.
    before = windows(desktop, "thunar")
    desktop.double_click(70, 190)
    eventually("the file manager opens", lambda: len(windows(desktop, "thunar")) > len(before))
    desktop.press(["alt", "f4"])
    desktop.left_click(500, 600)


def test_waiting(desktop):
    desktop.wait(10)


def test_another_screen():
    desktop = create(resolution=(1280, 720), dpi=120, display=":3")
    try:
        assert desktop.get_screen_size() == (1280, 720)
        assert size_of(desktop.screenshot()) == (1280, 720)
        assert "120x120" in desktop.commands.run("xdpyinfo").stdout
        assert len(desktop.commands.run("pgrep -x Xvfb").stdout.split()) == 1  # The template's has ended.
        assert len(desktop.commands.run("pgrep -x xfce4-session").stdout.split()) == 1
    finally:
        desktop.kill()


class Frames:
    """The bytes of the messages of a WebSocket."""

    def __init__(self, socket):
        self.socket, self.rest = socket, b""

    def take(self, n):
        while len(self.rest) < n:
            self.rest += self.socket.recv(timeout=60)
        taken, self.rest = self.rest[:n], self.rest[n:]
        return taken


def test_the_stream_shows_the_screen(desktop):
    stream = desktop.stream
    with pytest.raises(RuntimeError):
        stream.get_auth_key()
    stream.start()
    with pytest.raises(RuntimeError):
        stream.start()
    url = stream.get_url(auto_connect=True, view_only=True)
    assert url == f"https://{desktop.get_host(6080)}/vnc.html?autoconnect=true&view_only=true&resize=scale"
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with connect(f"wss://{desktop.get_host(6080)}/websockify", ssl=context, subprotocols=["binary"], max_size=None, proxy=None) as socket:
        frames = Frames(socket)
        assert frames.take(12) == b"RFB 003.008\n"
        socket.send(b"RFB 003.008\n")
        assert 1 in frames.take(frames.take(1)[0])
        socket.send(b"\x01")  # No password.
        assert frames.take(4) == b"\0\0\0\0"
        socket.send(b"\x01")
        width, height = struct.unpack(">HH", frames.take(4))
        assert (width, height) == (1024, 768)
        bits = frames.take(16)[0]
        assert bits == 32
        frames.take(struct.unpack(">I", frames.take(4))[0])
        socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        kind, _, rectangles = struct.unpack(">BBH", frames.take(4))
        assert kind == 0 and rectangles > 0
        _, _, w, h, encoding = struct.unpack(">HHHHi", frames.take(12))
        assert encoding == 0
        pixels = frames.take(w * h * 4)
        assert len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 1
    stream.stop()
    eventually("nothing of it runs", lambda: desktop.commands.run("pgrep -x x11vnc || echo none").stdout == "none\n")
