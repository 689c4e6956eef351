import hashlib
import http.client
import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import VERSION
from e2b import (
    AuthenticationException,
    FileType,
    FilesystemEventType,
    InvalidArgumentException,
    NotFoundException,
)
from wait import eventually


def sum_inside(sandbox, path):
    return sandbox.commands.run(f"sha256sum < {path}").stdout.split()[0]


def test_text(sandbox):
    info = sandbox.files.write("text.txt", "grüße\n")
    assert (info.name, info.type, info.path) == ("text.txt", FileType.FILE, "/home/user/text.txt")
    assert sandbox.files.read("text.txt") == "grüße\n"
    sandbox.files.write("text.txt", "")
    assert sandbox.files.read("text.txt") == ""


def test_20_mb_come_back_byte_equal(sandbox):
    data = os.urandom(20 << 20)
    sandbox.files.write("big.bin", data)
    assert sum_inside(sandbox, "big.bin") == hashlib.sha256(data).hexdigest()
    assert bytes(sandbox.files.read("big.bin", format="bytes")) == data


@pytest.mark.parametrize("gzip, octets", [(False, None), (False, False), (False, True), (True, None), (True, True)])
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_upload(sandbox, kind, gzip, octets):
    data = os.urandom(300_001)
    body = data if kind == "bytes" else io.BytesIO(data)
    sandbox.files.write("body.bin", body, gzip=gzip, use_octet_stream=octets)
    assert sum_inside(sandbox, "body.bin") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("gzip", [False, True])
def test_read_stream(sandbox, gzip):
    data = os.urandom(1_000_003)
    sandbox.files.write("stream.bin", data)
    assert b"".join(sandbox.files.read("stream.bin", format="stream", gzip=gzip)) == data


def test_several_files(sandbox):
    entries = [
        {"path": "many/one.txt", "data": "1"},
        {"path": "/tmp/many/two.bin", "data": b"\x00\x01"},
        {"path": "three ü.txt", "data": "3"},
    ]
    infos = sandbox.files.write_files(entries)
    assert [i.path for i in infos] == ["/home/user/many/one.txt", "/tmp/many/two.bin", "/home/user/three ü.txt"]
    assert sandbox.files.read("many/one.txt") == "1"
    assert bytes(sandbox.files.read("/tmp/many/two.bin", format="bytes")) == b"\x00\x01"
    assert sandbox.files.read("three ü.txt") == "3"


def test_list_and_depth(sandbox):
    sandbox.files.write("tree/one/two/three.txt", "3")
    sandbox.files.write("tree/file.txt", "f")

    def paths(**opts):
        return {e.path.removeprefix("/home/user/tree/"): e.type for e in sandbox.files.list("tree", **opts)}

    top = {"one": FileType.DIR, "file.txt": FileType.FILE}
    assert paths() == top
    assert paths(depth=2) == top | {"one/two": FileType.DIR}


def test_info(sandbox):
    sandbox.commands.run("mkdir -p info && echo -n hello > info/f && chmod 640 info/f && ln -s f info/link")
    info = sandbox.files.get_info("info/f")
    assert (info.name, info.type, info.path) == ("f", FileType.FILE, "/home/user/info/f")
    assert (info.size, info.mode, info.permissions) == (5, 0o640, "-rw-r-----")
    assert (info.owner, info.group, info.symlink_target) == ("user", "user", None)
    link = sandbox.files.get_info("info/link")
    assert (link.symlink_target, link.mode) == ("/home/user/info/f", 0o640)
    # Older SDKs know a link by the type of its target only.
    assert link.type == (FileType.SYMLINK if VERSION >= (2, 63, 0) else FileType.FILE)


def test_directories_and_moves(sandbox):
    assert sandbox.files.make_dir("made/in/one/go") is True
    assert sandbox.files.make_dir("made/in/one/go") is False
    sandbox.files.write("made/f", "content")
    assert sandbox.files.rename("made/f", "moved/g").path == "/home/user/moved/g"
    assert not sandbox.files.exists("made/f") and sandbox.files.exists("moved/g")
    sandbox.files.remove("moved")
    assert not sandbox.files.exists("moved")


def test_metadata(sandbox):
    sandbox.files.write("marked", "x", metadata={"Author": "e2e", "note": "two words"})
    assert sandbox.files.get_info("marked").metadata == {"author": "e2e", "note": "two words"}


def test_errors(sandbox):
    sandbox.files.write("plain", "")
    for ask in (
        lambda: sandbox.files.read("missing"),
        lambda: sandbox.files.list("missing"),
        lambda: sandbox.files.get_info("missing"),
        lambda: sandbox.files.rename("missing", "x"),
        lambda: sandbox.files.watch_dir("missing"),
    ):
        with pytest.raises(NotFoundException):
            ask()
    for ask in (
        lambda: sandbox.files.read("/home/user"),
        lambda: sandbox.files.write("/home/user", "x"),
        lambda: sandbox.files.list("plain"),
        lambda: sandbox.files.make_dir("plain"),
        lambda: sandbox.files.watch_dir("plain"),
    ):
        with pytest.raises(InvalidArgumentException):
            ask()
    with pytest.raises(AuthenticationException):
        sandbox.files.write("x", "x", user="nobody-here")


def test_watch(sandbox):
    sandbox.files.make_dir("watched/sub")
    handle = sandbox.files.watch_dir("watched", recursive=True, include_entry=True)
    events = []

    def saw(kind, name):
        def ask():
            events.extend(handle.get_new_events())
            return next((e for e in events if (e.type, e.name) == (kind, name)), None)

        return eventually(f"{kind} {name}", ask)

    sandbox.files.write("watched/f", "x")
    assert saw(FilesystemEventType.WRITE, "f").entry.path == "/home/user/watched/f"
    sandbox.files.write("watched/sub/g", "x")
    saw(FilesystemEventType.CREATE, "sub/g")
    sandbox.files.remove("watched/f")
    saw(FilesystemEventType.REMOVE, "f")
    sandbox.commands.run("cd watched && mkdir -p before/inner && mv before after && mv sub /tmp/sub && echo x > after/inner/n && echo x > /tmp/sub/n")
    saw(FilesystemEventType.CREATE, "after/inner/n")
    sandbox.files.write("watched/last", "x")
    saw(FilesystemEventType.CREATE, "last")
    assert not [e.name for e in events if e.name in ("before/inner/n", "sub/n")]
    handle.stop()


def test_urls(sandbox):
    boundary = "b0undary"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nby url\r\n--{boundary}--\r\n'
    up = urllib.request.Request(
        sandbox.upload_url("by url.txt", use_signature_expiration=60),
        data=body.encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(up) as r:
        assert json.load(r) == [{"path": "/home/user/by url.txt", "name": "by url.txt", "type": "file"}]
    with urllib.request.urlopen(sandbox.download_url("by url.txt", user="user")) as r:
        assert r.read() == b"by url"
    with pytest.raises(urllib.error.HTTPError) as late:
        urllib.request.urlopen(sandbox.download_url("by url.txt", use_signature_expiration=-10))
    assert late.value.code == 401
    assert json.load(late.value) == {"code": 401, "message": "signature is already expired"}


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_port(sandbox, address):
    port = 8000 if address == "0.0.0.0" else 8001
    sandbox.files.write("www/index.html", "hello from inside")
    sandbox.commands.run(f"python3 -m http.server {port} --bind {address} --directory www", background=True, timeout=0)
    host = urllib.parse.urlsplit(os.environ["E2B_SANDBOX_URL"]).netloc

    def get():
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            connection.request("GET", "/", headers={"Host": sandbox.get_host(port)})
            response = connection.getresponse()
            return response.status == 200 and response.read()
        finally:
            connection.close()

    assert eventually("the server answers", get) == b"hello from inside"


def test_git(sandbox):
    sandbox.git.init("repo", initial_branch="main")
    sandbox.git.configure_user("E2E", "e2e@example.com")
    sandbox.files.write("repo/a.txt", "a")
    sandbox.git.add("repo")
    sandbox.git.commit("repo", "it's the first")
    status = sandbox.git.status("repo")
    assert (status.current_branch, status.file_status) == ("main", [])


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK cannot upload an iterable")
def test_an_iterable(sandbox):
    sandbox.files.write("chunks", (bytes([n]) * 1000 for n in range(200)))
    assert bytes(sandbox.files.read("chunks", format="bytes")) == b"".join(bytes([n]) * 1000 for n in range(200))
