"""Templates that the SDK builds."""

import asyncio
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import create
from e2b import AsyncTemplate, BuildException, NotFoundException, Sandbox, Template, wait_for_port


def unique(what):
    return f"py-{what}-{time.time_ns()}"


def delete(name):
    """Deletes a template, for which the SDK has no method."""
    base = os.environ.get("E2B_API_URL") or f"https://api.{os.environ['E2B_DOMAIN']}"
    request = urllib.request.Request(f"{base}/templates/{name}", method="DELETE", headers={"X-API-KEY": os.environ["E2B_API_KEY"]})
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError:
        pass  # The case fails for what it is about.


@pytest.fixture
def build():
    """Builds templates that end with the case; returns the name and the log."""
    made = []

    def make(template, name=None, **opts):
        made.append(name or unique("template"))
        log = []
        Template.build(template, made[-1], on_build_logs=lambda entry: log.append(entry.message), **opts)
        return made[-1], "\n".join(log)

    yield make
    for name in made:
        delete(name.split(":")[0])


def test_steps_see_each_other(build, own):
    template = (
        Template()
        .from_base_image()
        .set_envs({"GREETING": "hello", "LONGER": "$GREETING to you"})
        .run_cmd("echo built by $(id -un) > built")
        .run_cmd(["mkdir -p /opt/tool", 'echo "$LONGER" > /opt/tool/said'], user="root")
        .set_workdir("/home/user/app")
        .make_dir("made")
        .set_user("worker")
    )
    name, log = build(template)
    assert "RUN echo built by" in log
    sandbox = own(template=name)
    got = sandbox.commands.run("cat /home/user/built /opt/tool/said; ls; id -un; pwd; echo $GREETING").stdout
    assert got == "built by user\nhello to you\nmade\nworker\n/home/user/app\nhello\n"


def test_files_are_copied(build, own, tmp_path):
    (tmp_path / "app" / "sub").mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("main")
    (tmp_path / "app" / "sub" / "deep.txt").write_text("deep")
    (tmp_path / "app" / "link").symlink_to("main.py")
    (tmp_path / "big").write_bytes(os.urandom(20 << 20))
    template = (
        Template(file_context_path=tmp_path)
        .from_template("base")
        .copy("app", "/home/user/dst")
        .copy("app/*.py", "/home/user/scripts/", mode=0o700)
        .copy("big", "/opt/big", user="root")
    )
    name, _ = build(template)
    sandbox = own(template=name)
    got = sandbox.commands.run("cat dst/main.py dst/sub/deep.txt; readlink dst/link; ls scripts; stat -c '%a %U %s' scripts/main.py /opt/big").stdout
    assert got == f"maindeepmain.py\nmain.py\n700 user 4\n644 root {20 << 20}\n"


def test_a_failed_step_is_reported_at_its_line(build):
    with pytest.raises(BuildException) as failure:
        build(Template().from_template("base").run_cmd("true").run_cmd("echo oops >&2; exit 7"))
    assert "exit status 7" in str(failure.value) and "oops" in str(failure.value)
    assert "test_templates.py" in "".join(str(entry) for entry in failure.traceback)


def test_what_was_started_runs(build, own):
    name, _ = build(Template().from_template("base").set_workdir("/tmp").set_start_cmd("python3 -m http.server 8000", wait_for_port(8000)))
    assert "Directory listing" in own(template=name).commands.run("curl -s http://localhost:8000/").stdout


def test_tags_name_builds(build, own):
    name = unique("tags")
    version = lambda n: Template().from_template("base").run_cmd(f"echo {n} > /tmp/version")  # noqa: E731
    look = lambda template: own(template=template).commands.run("cat /tmp/version").stdout  # noqa: E731
    build(version(1), name + ":v1")
    with pytest.raises(Exception, match="(?i)not found|has no build"):
        create(template=name)  # No build has the default tag.
    build(version(2), name)
    assert [look(name), look(name + ":v1"), look(name + ":default")] == ["2\n", "1\n", "2\n"]
    Template.assign_tags(name + ":v1", ["stable", "old"])
    assert look(name + ":stable") == "1\n"
    info = Template.assign_tags(name + ":v1", "default")
    assert look(name) == "1\n" and info.build_id
    assert sorted(tag.tag for tag in Template.get_tags(name)) == ["default", "old", "stable", "v1"]
    Template.remove_tags(name, ["old"])
    with pytest.raises(Exception, match="(?i)not found|has no build"):
        create(template=name + ":old")
    assert Template.exists(name) and not Template.exists(unique("none"))


def test_builds_at_once_are_one(build, own):
    name = unique("together")
    template = lambda: Template().from_template("base").run_cmd("date +%s%N > /tmp/stamp; sleep 1")  # noqa: E731
    with ThreadPoolExecutor(32) as pool:
        for job in [pool.submit(Template.build, template(), name) for _ in range(32)]:
            job.result()
    _, log = build(template(), name)
    assert "CACHED" in log
    assert own(template=name).commands.run("cat /tmp/stamp").stdout


def test_async(own):
    name = unique("async")

    async def build():
        built = await AsyncTemplate.build_in_background(AsyncTemplate().from_template("base").run_cmd("echo hi > /tmp/hi"), name)
        offset, status = 0, None
        while status is None or status.status.value in ("building", "waiting"):
            status = await AsyncTemplate.get_build_status(built, logs_offset=offset)
            offset += len(status.log_entries)
        assert status.status.value == "ready"

    try:
        asyncio.run(build())
        assert own(template=name).commands.run("cat /tmp/hi").stdout == "hi\n"
    finally:
        delete(name)


def test_a_template_that_is_not_there():
    with pytest.raises((NotFoundException, Exception), match="not found"):
        Sandbox.create(template=unique("none"))
