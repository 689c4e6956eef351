"""A checkout that is not up to date is read and not written, and its users get the reason."""

import pytest
from e2b import SandboxException

SYNC = {"rundlet.sync.branch": "main", "rundlet.sync.target": "origin/main", "rundlet.sync.checkout": "/tmp"}


def test_a_failed_sync_is_the_error_of_a_write(own):
    s = own(metadata=SYNC)  # /tmp is not a repository.
    for write in (
        lambda: s.commands.run("true"),
        lambda: s.files.write("x", "x"),
        lambda: s.files.make_dir("x"),
        lambda: s.files.remove("/etc/hostname"),
        lambda: s.commands.run("true", background=True),
    ):
        with pytest.raises(SandboxException) as refused:
            write()
        assert "not up to date" in str(refused.value) and "not a git repository" in str(refused.value)
    assert s.files.read("/etc/hostname")
    assert s.files.list("/")
    assert s.commands.list() == []
    assert s.is_running()


def test_what_cannot_be_synced_is_refused(own):
    for wrong in ({**SYNC, "rundlet.sync.branch": "--upload-pack=sh"}, {"rundlet.sync": "yes"}, {"rundlet.sync.branch": "main"}):
        with pytest.raises(SandboxException, match="400"):
            own(metadata=wrong)
