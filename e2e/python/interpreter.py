"""The code interpreter: e2b-code-interpreter, unmodified, with the template code-interpreter-v1."""

import asyncio
import base64
import os
import threading
import time

import pytest
from conftest import record
from e2b import NotFoundException, TimeoutException
from e2b_code_interpreter import AsyncSandbox, Sandbox
from wait import eventually


def create(**opts):
    sandbox = Sandbox.create(timeout=240, **opts)  # The template is the SDK's default.
    record(sandbox)
    return sandbox


@pytest.fixture(scope="module")
def sandbox():
    s = create(envs={"FROM_CREATE": "yes"})
    yield s
    s.kill()


@pytest.fixture
def own():
    made = []

    def make(**opts):
        made.append(create(**opts))
        return made[-1]

    yield make
    for s in made:
        s.kill()


def test_state_is_kept(sandbox):
    assert sandbox.run_code("x = 20; x += 1").results == []
    execution = sandbox.run_code("x * 2")
    assert execution.text == "42" and execution.error is None
    assert [r.is_main_result for r in execution.results] == [True]
    assert sandbox.run_code("'quoted'").text == "quoted"
    assert sandbox.run_code("1").execution_count == sandbox.run_code("1").execution_count - 1


def test_output_comes_while_the_code_runs(sandbox):
    seen = []
    code = "import sys, os\nprint('one', flush=True)\nfor _ in range(1000):\n  if os.path.exists('go'): break\n  __import__('time').sleep(0.05)\nprint('two', file=sys.stderr)"

    def on_stdout(message):
        seen.append(message)
        sandbox.files.write("/home/user/go", "")  # It goes on only if the first line has come.

    execution = sandbox.run_code(code, on_stdout=on_stdout, on_stderr=seen.append)
    assert [(m.line, m.error) for m in seen] == [("one\n", False), ("two\n", True)]
    assert abs(seen[0].timestamp / 1e9 - time.time()) < 600
    assert execution.logs.stdout == ["one\n"] and execution.logs.stderr == ["two\n"]


def test_output_of_programs_and_separators(sandbox):
    execution = sandbox.run_code("import os\nos.system('echo from a program')\nprint('a\\u2028b\\x85c\\x0c', 'ü😀' * 50000)")
    text = "".join(execution.logs.stdout)
    said = "from a program\n"  # The program and Python write at the same time.
    assert said in text and text.replace(said, "", 1) == "a\u2028b\x85c\x0c " + "ü😀" * 50000 + "\n"


def test_errors(sandbox):
    errors = []
    execution = sandbox.run_code("def f():\n  return 1 / 0\nf()", on_error=errors.append)
    assert execution.error.name == "ZeroDivisionError" and execution.error.value == "division by zero"
    assert "return" in execution.error.traceback and errors == [execution.error]
    assert sandbox.run_code("if").error.name == "SyntaxError"
    assert "StdinNotImplementedError" in sandbox.run_code("input()").error.name


def test_a_stream_that_cannot_be_flushed(own):
    sandbox = own()
    code = "import sys\nclass Broken:\n  def write(self, text): return len(text)\n  def flush(self): raise ValueError('no')\n"
    for stream in ("stdout", "stderr"):
        execution = sandbox.run_code(f"{code}sys.{stream} = Broken()", timeout=30)
        assert execution.error is None and f"sys.{stream} was replaced" in "".join(execution.logs.stderr)
        execution = sandbox.run_code(f"print('next', file=sys.{stream})", timeout=30)
        assert getattr(execution.logs, stream) == ["next\n"]
    assert sandbox.run_code("sys.stdout = None\nprint('x')", timeout=30).logs.stdout == []


def test_rich_results(sandbox):
    results = []
    execution = sandbox.run_code(
        "from IPython.display import *\n"
        "display(HTML('<b>'), Markdown('*m*'), Latex('$x$'), JSON({'a': [1]}), Javascript('1'), SVG('<svg></svg>'))\n"
        "display({'application/pdf': 'JVBERg==', 'image/jpeg': '/9j/', 'text/vnd.test': 'own'}, raw=True)",
        on_result=results.append,
    )
    assert len(results) == len(execution.results) == 7 and not any(r.is_main_result for r in results)
    assert [results[0].html, results[1].markdown, results[2].latex, results[3].json, results[4].javascript] == ["<b>", "*m*", "$x$", {"a": [1]}, "1"]
    assert "<svg" in results[5].svg and results[6].pdf == "JVBERg==" and results[6].jpeg == "/9j/" and results[6].extra == {"text/vnd.test": "own"}


def test_data_of_tables(sandbox):
    execution = sandbox.run_code("import pandas as pd\npd.DataFrame({'n': [1, 2], 'x': [0.5, float('nan')], 't': pd.to_datetime(['2020-01-02', None]), 's': ['a', None]})")
    result = execution.results[0]
    assert result.data == {"n": [1, 2], "x": [0.5, None], "t": ["2020-01-02T00:00:00", None], "s": ["a", None]}
    assert "<table" in result.html and "2020-01-02" in result.text


def chart(sandbox, code):
    execution = sandbox.run_code("import matplotlib.pyplot as plt\n" + code + "\nplt.show()")
    assert execution.error is None, execution.error.traceback
    (result,) = execution.results
    assert base64.b64decode(result.png).startswith(b"\x89PNG")
    return result.chart


def test_charts(sandbox):
    line = chart(sandbox, "plt.plot([1, 2], [3, 4], label='a'); plt.plot([1, 2], [5, 6]); plt.title('T'); plt.xlabel('Time (s)'); plt.ylabel('y')")
    assert (line.type.value, line.title, line.x_label, line.x_unit, line.y_unit, line.x_scale.value) == ("line", "T", "Time (s)", "s", None, "linear")
    assert [(e.label, e.points) for e in line.elements] == [("a", [(1, 3), (2, 4)]), ("Series 2", [(1, 5), (2, 6)])]
    assert len(line.x_ticks) == len(line.x_tick_labels) > 2

    scatter = chart(sandbox, "plt.scatter(['2020-01-01', '2020-01-02'], [1, 10]); plt.yscale('log')")
    assert (scatter.type.value, scatter.x_scale.value, scatter.y_scale.value) == ("scatter", "categorical", "log")
    assert scatter.elements[0].points == [("2020-01-01", 1), ("2020-01-02", 10)]
    dates = chart(sandbox, "import datetime\nplt.plot([datetime.date(2020, 1, 1), datetime.date(2020, 1, 3)], [1, 2])")
    assert dates.x_scale.value == "datetime" and dates.elements[0].points[0] == ("2020-01-01T00:00:00", 1)

    bar = chart(sandbox, "plt.bar(['p', 'q'], [1, 2], label='g'); plt.bar(['p', 'q'], [2, 3], bottom=[1, 2], label='h')")
    assert bar.type.value == "bar" and [(e.label, e.group, e.value) for e in bar.elements] == [("p", "g", 1), ("q", "g", 2), ("p", "h", 2), ("q", "h", 3)]
    pie = chart(sandbox, "plt.pie([1, 3], labels=['x', 'y'])")
    assert pie.type.value == "pie" and [(e.label, round(e.angle), e.radius) for e in pie.elements] == [("x", 90, 1), ("y", 270, 1)]
    box = chart(sandbox, "plt.boxplot([[1, 2, 3, 4, 20], [2, 3, 4, 5]]); plt.xticks([1, 2], ['p', 'q'])")
    first = box.elements[0]
    assert box.type.value == "box_and_whisker" and [e.label for e in box.elements] == ["p", "q"]
    assert (first.min, first.first_quartile, first.median, first.third_quartile, first.max, first.outliers) == (1, 2, 3, 4, 4, [20])
    two = chart(sandbox, "fig, axes = plt.subplots(1, 2); fig.suptitle('S'); axes[0].plot([1]); axes[1].pie([1])")
    assert two.type.value == "superchart" and two.title == "S" and [e.type.value for e in two.elements] == ["line", "pie"]
    assert chart(sandbox, "plt.imshow([[1, 2]])").type.value == "unknown"


def test_variables(sandbox):
    look = "import os; [os.environ.get(name) for name in ('FROM_CREATE', 'OF_RUN', 'E2B_SANDBOX_ID')]"
    assert sandbox.run_code(look, envs={"OF_RUN": "a b"}).text == str(["yes", "a b", sandbox.sandbox_id])
    assert sandbox.run_code(look, envs={"FROM_CREATE": "other"}).text == str(["other", None, sandbox.sandbox_id])
    assert sandbox.run_code(look).text == str(["yes", None, sandbox.sandbox_id])
    assert sandbox.run_code("os.environ['FROM_CREATE'] = 'changed'").error is None
    assert sandbox.run_code(look).text == str(["changed", None, sandbox.sandbox_id])
    sandbox.run_code("os.environ['FROM_CREATE'] = 'yes'")
    assert sandbox.run_code("import getpass, os; [getpass.getuser(), os.getcwd()]").text == "['user', '/home/user']"


def test_contexts(sandbox):
    context = sandbox.create_code_context(cwd="/tmp")
    assert (context.language, context.cwd) == ("python", "/tmp")
    assert sandbox.run_code("import os; own = 1; os.getcwd()", context=context).text == "/tmp"
    assert sandbox.run_code("own").error.name == "NameError"
    assert context.id in [c.id for c in sandbox.list_code_contexts()]
    sandbox.restart_code_context(context)
    assert sandbox.run_code("own", context=context).error.name == "NameError"
    assert sandbox.run_code("os = __import__('os'); os.getcwd()", context=context).text == "/tmp"
    sandbox.remove_code_context(context)
    assert context.id not in [c.id for c in sandbox.list_code_contexts()]
    with pytest.raises(NotFoundException, match="not found"):
        sandbox.run_code("1", context=context)
    with pytest.raises(Exception, match="400"):
        sandbox.create_code_context(cwd="/none")
    with pytest.raises(Exception, match="400"):
        sandbox.run_code("1", language="cobol")


def test_bash(sandbox):
    execution = sandbox.run_code("N=5; cd /tmp; echo out $FROM_CREATE $OF_RUN; echo err >&2", language="bash", envs={"OF_RUN": "it's"})
    assert (execution.logs.stdout, execution.logs.stderr, execution.error) == (["out yes it's\n"], ["err\n"], None)
    assert sandbox.run_code("echo $N $PWD $OF_RUN", language="sh").logs.stdout == ["5 /tmp\n"]
    assert "".join(sandbox.run_code("printf '\\303'; sleep 0.2; printf '\\274\\377\\n'", language="bash").logs.stdout) == "ü\ufffd\n"
    assert sandbox.run_code("false", language="bash").error.value == "1"
    context = sandbox.create_code_context(language="bash", cwd="/var")
    assert "".join(sandbox.run_code("pwd; echo $N", context=context).logs.stdout) == "/var\n\n"


def test_a_timeout_interrupts_and_keeps_the_state(sandbox):
    for language, endless, look in (
        ("python", "kept = 7\nprint('go', flush=True)\nwhile True: pass", "print(kept)"),
        ("bash", "kept=7; while true; do sleep 1; done", "echo $kept"),
    ):
        with pytest.raises(TimeoutException, match="timed out"):
            sandbox.run_code(endless, language=language, timeout=2)
        assert sandbox.run_code(look, language=language, timeout=60).logs.stdout == ["7\n"]


def test_a_kernel_that_dies_is_replaced(own):
    sandbox = own()
    sandbox.run_code("gone = 1")
    execution = sandbox.run_code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert execution.error.name == "KernelDied" and "killed" in execution.error.value
    assert sandbox.run_code("gone").error.name == "NameError"
    assert "exit status 3" in sandbox.run_code("exit 3", language="bash").error.value
    assert sandbox.run_code("echo again", language="bash").logs.stdout == ["again\n"]


def test_output_that_nobody_reads_waits(own):
    sandbox = own()
    began = []

    def slow(message):
        if not began:
            began.append(1)
            time.sleep(4)

    size = "import os; int(open(f'/proc/{os.getpid()}/statm').read().split()[1]) * 4096 >> 20"
    before = int(sandbox.run_code(size).text)
    execution = sandbox.run_code("for i in range(1000): print(str(i % 10) * 100_000)", on_stdout=slow, timeout=120)
    assert "".join(execution.logs.stdout) == "".join(str(i % 10) * 100_000 + "\n" for i in range(1000))
    assert int(sandbox.run_code(size).text) - before < 40


def test_copies_draw_other_numbers_than_each_other(own):
    draw = "import random, ssl, numpy; [random.random(), numpy.random.random(), ssl.RAND_bytes(8).hex()]"
    parent = own()
    parent.run_code(draw + "; kept = 'kept'")
    snapshot = parent.create_snapshot() if hasattr(parent, "create_snapshot") else None
    sandboxes = [parent, *([Sandbox.create(snapshot.snapshot_id, timeout=240) for _ in range(2)] if snapshot else [own(), own()])]
    try:
        for s in sandboxes[1:]:
            record(s)
        drawn = [s.run_code(draw).text for s in sandboxes]
        numbers = [number for text in drawn for number in text.strip("[]").split(", ")]
        assert len(set(numbers)) == 9, drawn
        if snapshot:
            assert [s.run_code("kept").text for s in sandboxes] == ["kept"] * 3
    finally:
        for s in sandboxes[1:]:
            s.kill()
        if snapshot:
            Sandbox.delete_snapshot(snapshot.snapshot_id)


def test_a_pause_keeps_the_state(own):
    sandbox = own(envs={"A": "1"})
    sandbox.run_code("x = 41")
    (sandbox.pause if hasattr(sandbox, "pause") else sandbox.beta_pause)()
    again = Sandbox.connect(sandbox.sandbox_id)
    assert again.run_code("import os; x + int(os.environ['A'])").text == "42"


def test_code_goes_on_where_its_client_is(own):
    sandbox = own()
    code = "why = None\ntry:\n  print('go', flush=True)\n  while True: __import__('time').sleep(0.05)\nexcept BaseException as e: why = type(e).__name__"
    began, ended = threading.Event(), []

    def run():
        try:
            sandbox.run_code(code, on_stdout=lambda _: began.set(), timeout=100)
        except Exception as e:
            ended.append(e)

    client = threading.Thread(target=run)
    client.start()
    assert began.wait(60)
    (sandbox.pause if hasattr(sandbox, "pause") else sandbox.beta_pause)()
    client.join(60)
    assert len(ended) == 1
    assert Sandbox.connect(sandbox.sandbox_id).run_code("why").text == "KeyboardInterrupt"


def test_async_and_at_once():
    async def main():
        sandbox = await AsyncSandbox.create(timeout=240)
        record(sandbox)
        try:
            contexts = await asyncio.gather(*[sandbox.create_code_context() for _ in range(3)])
            runs = await asyncio.gather(*[sandbox.run_code(f"v = {i}; v", context=c) for i, c in enumerate(contexts)])
            assert [r.text for r in runs] == ["0", "1", "2"]
            queued = await asyncio.gather(*[sandbox.run_code(f"q = {i}; q") for i in range(8)])
            assert sorted(r.text for r in queued) == [str(i) for i in range(8)]
        finally:
            await sandbox.kill()

    asyncio.run(main())


def test_traffic_token(own):
    sandbox = own(network={"allow_public_traffic": False})
    assert sandbox.run_code("1 + 1").text == "2"
    sandbox.remove_code_context(sandbox.create_code_context(language="bash"))


def test_a_client_of_no_sdk(sandbox):
    import urllib.error
    import urllib.request

    def post(body, path="/execute"):
        headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49999", "Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(os.environ["E2B_SANDBOX_URL"] + path, body, headers)) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    assert post(b'{"code": "1"}') == 200
    assert post(b"{") == 400
    assert post(b'{"code": "' + b"x" * (9 << 20) + b'"}') == 413
    assert post(b'{"code": "1", "language": "python", "context_id": "x"}') == 400
    assert post(b"{}", "/contexts/none/restart") == 404
    assert eventually("it goes on", lambda: sandbox.run_code("1").text) == "1"
