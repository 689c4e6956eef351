"""Forks and snapshots: what one sandbox was, and others go on from."""

import time

import pytest
from conftest import count, counter, create, record
from e2b import NotFoundException, Sandbox, SandboxException
from wait import eventually

UNKNOWN = "unknown-" + "0" * 12


def unique(what):
    return f"py-{what}-{time.time_ns()}"


@pytest.fixture
def fork():
    """Forks, and kills the children at the end of the case."""
    made = []

    def make(parent, **opts):
        opts.setdefault("timeout", 120)
        results = parent.fork(**opts)
        for child in results:
            if isinstance(child, Sandbox):
                record(child)
                made.append(child)
        assert [r for r in results if not isinstance(r, Sandbox)] == []
        return results

    yield make
    for child in made:
        child.kill()


@pytest.fixture
def snapshot():
    """Takes snapshots that end with the case."""
    made = []

    def take(s, **opts):
        made.append(s.create_snapshot(**opts))
        return made[-1]

    yield take
    for s in made:
        Sandbox.delete_snapshot(s.snapshot_id)


def listed(**opts):
    found = []
    pages = Sandbox.list_snapshots(**opts)
    while pages.has_next:
        found += pages.next_items()
    return found


def ids(snapshots):
    return [s.snapshot_id for s in snapshots]


def test_one_child_goes_on_where_its_parent_was(own, fork):
    parent = own()
    parent.files.write("shared", "from before")
    pid = counter(parent).pid
    before, end = count(parent), parent.get_info().end_at
    (child,) = fork(parent)
    assert child.sandbox_id != parent.sandbox_id
    assert child.files.read("shared") == "from before"
    assert pid in [p.pid for p in child.commands.list()]
    for s in (child, parent):
        n = count(s)
        assert n >= before
        eventually("it counts on", lambda: count(s) > n)
    assert parent.get_info().end_at == end


def test_three_children_are_independent(own, fork):
    parent = own()
    children = fork(parent, count=3)
    everyone = [parent, *children]
    assert len({s.sandbox_id for s in everyone}) == 4
    for n, s in enumerate(everyone):
        s.files.write("who", f"number {n}")
    assert [s.files.read("who") for s in everyone] == ["number 0", "number 1", "number 2", "number 3"]
    for command in ("hostname", "head -c 16 /dev/urandom | od -An -tx1", "echo $E2B_SANDBOX_ID"):
        assert len({s.commands.run(command).stdout for s in everyone}) == 4, command
    assert parent.kill() and children[0].kill()
    assert [s.files.read("who") for s in children[1:]] == ["number 2", "number 3"]


def test_children_have_a_timeout_of_their_own(own, fork):
    (child,) = fork(own(), timeout=77)
    info = child.get_info()
    assert abs((info.end_at - info.started_at).total_seconds() - 77) < 10


def test_fork_of_a_paused_sandbox(own, fork):
    s = own()
    s.files.write("saved", "then paused")
    s.pause()
    assert [child.files.read("saved") for child in fork(s, count=2)] == ["then paused"] * 2
    assert not s.is_running()


def test_forks_that_cannot_be(own):
    s = own()
    for n in (0, -1, 101):
        with pytest.raises((SandboxException, ValueError), match="count"):
            s.fork(count=n)
    s.kill()
    with pytest.raises(NotFoundException):
        s.fork()


def test_a_snapshot_outlives_its_sandbox_and_starts_others(own, snapshot):
    s = own()
    s.files.write("saved", "before")
    counter(s)
    before = count(s)
    taken = snapshot(s)
    assert taken.names == []
    n = count(s)
    eventually("it runs on", lambda: count(s) > n)
    s.files.write("saved", "after")
    s.kill()
    for _ in range(2):
        other = own(template=taken.snapshot_id)
        assert other.sandbox_id != s.sandbox_id
        assert other.files.read("saved") == "before"
        assert count(other) >= before
    assert ids(listed(sandbox_id=s.sandbox_id)) == [taken.snapshot_id]
    assert Sandbox.delete_snapshot(taken.snapshot_id) is True
    assert Sandbox.delete_snapshot(taken.snapshot_id) is False
    with pytest.raises(SandboxException, match="^404: "):
        create(template=taken.snapshot_id)


def test_a_named_snapshot(own, snapshot):
    name = unique("named")
    s = own()
    s.files.write("saved", "under a name")
    taken = snapshot(s, name=name)
    assert any(name in n for n in taken.names)
    assert listed(name=name) == listed(name=name + ":default") == [taken]
    assert ids(listed(name=taken.snapshot_id)) == [taken.snapshot_id]
    assert listed(name=UNKNOWN) == []
    assert own(template=name).files.read("saved") == "under a name"
    s.files.write("saved", "again")
    newer = snapshot(s, name=name)
    assert newer.snapshot_id == taken.snapshot_id
    tagged = snapshot(s, name=name + ":v1")
    assert set(ids(listed(name=name))) == {newer.snapshot_id, tagged.snapshot_id} and tagged.names == newer.names
    made = own(template=taken.snapshot_id)
    assert made.files.read("saved") == "again"
    assert made.get_info().template_id == own(template=tagged.snapshot_id).get_info().template_id
    assert Sandbox.delete_snapshot(name) is True
    assert Sandbox.delete_snapshot(name) is False
    # What the name moved away from is still there.
    (older,) = [i for i in ids(listed(sandbox_id=s.sandbox_id)) if i != tagged.snapshot_id]
    assert own(template=older).files.read("saved") == "under a name"
    assert Sandbox.delete_snapshot(older) is True


def test_snapshots_in_pages(own, snapshot):
    s = own()
    newest_first = ids([snapshot(s) for _ in range(3)][::-1])
    assert ids(listed(sandbox_id=s.sandbox_id, limit=2)) == newest_first
    assert ids(s.list_snapshots().next_items()) == newest_first
    first = Sandbox.list_snapshots(sandbox_id=s.sandbox_id, limit=2)
    assert len(first.next_items()) == 2 and first.has_next


def test_a_snapshot_of_a_paused_sandbox(own, snapshot):
    s = own()
    s.files.write("saved", "then paused")
    s.pause()
    taken = snapshot(s)
    assert not s.is_running()
    assert own(template=taken.snapshot_id).files.read("saved") == "then paused"


def test_snapshots_that_cannot_be(own):
    s = own()
    for name in ("../up", "a b", "a:b:c", "base"):
        with pytest.raises(SandboxException, match="^400: "):
            s.create_snapshot(name=name)
    assert Sandbox.delete_snapshot(UNKNOWN) is False
    s.kill()
    with pytest.raises(NotFoundException):
        s.create_snapshot()
