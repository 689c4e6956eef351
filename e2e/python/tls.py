"""With E2B_DOMAIN alone: what goes another way than over plain HTTP."""

import os
import urllib.error
import urllib.request

import pytest
from e2b import Sandbox
from wait import eventually


def test_there_is_no_other_way():
    assert "E2B_API_URL" not in os.environ and "E2B_SANDBOX_URL" not in os.environ


def test_the_page_of_a_port(sandbox):
    sandbox.files.write("www/index.html", "hello from inside")
    sandbox.commands.run("python3 -m http.server 8000 --directory www", background=True, timeout=0)

    def get():
        try:
            with urllib.request.urlopen(f"https://{sandbox.get_host(8000)}/") as r:
                return r.read()
        except urllib.error.HTTPError:
            return None

    assert eventually("the server answers", get) == b"hello from inside"


def test_urls(sandbox):
    sandbox.files.write("by url.txt", "by url")
    with urllib.request.urlopen(sandbox.download_url("by url.txt")) as r:
        assert r.read() == b"by url"


def test_a_sandbox_by_path(sandbox):
    url = f"https://api.{os.environ['E2B_DOMAIN']}/sandbox-proxy/{sandbox.sandbox_id}/ports/49983"
    by_path = Sandbox.connect(sandbox.sandbox_id, sandbox_url=url)
    by_path.files.write("by path.txt", "by path")
    assert by_path.commands.run('cat "by path.txt"').stdout == "by path"


def test_pause_and_resume(own):
    sandbox = own()
    sandbox.files.write("kept.txt", "kept")
    sandbox.pause()
    assert sandbox.connect().files.read("kept.txt") == "kept"


def test_an_authority_that_is_not_trusted(sandbox, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://{sandbox.get_host(8000)}/")
