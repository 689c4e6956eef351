"""Starts a Python kernel that the code interpreter's server talks to.

It is IPython's kernel, with a bound on output that is not read, with what a restored
sandbox must change, and with data of charts and tables in results.
"""

import collections
import contextlib
import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))

# A debugger and a completer, which the server does not use, take memory and time. Code may import them later.
unused = [name for name in ("debugpy", "jedi") if name not in sys.modules]
sys.modules.update(dict.fromkeys(unused))
import zmq  # noqa: E402
from ipykernel import iostream  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402

for name in unused:
    sys.modules.pop(name, None)

# Output that waits for a reader: characters of a stream, and messages.
PENDING = 64 << 10
QUEUED = 32


class BoundedStream(iostream.OutStream):
    """Lets a program that prints wait while the server does not read."""

    flush_timeout = threading.TIMEOUT_MAX
    pending = 0

    def write(self, string):
        written = super().write(string)
        self.pending += len(string)
        if self.pending > PENDING and self._is_master_process():
            self.flush()
        return written

    def _flush(self):
        self.pending = 0
        super()._flush()


class App(IPKernelApp):
    outstream_class = "__main__.BoundedStream"

    def init_iopub(self, context):
        # Messages for a server that does not read are not dropped: their sender waits.
        options = {zmq.SNDHWM: QUEUED, zmq.XPUB_NODROP: 1}
        for option, value in options.items():
            context.setsockopt(option, value)
        super().init_iopub(context)
        for option in options:
            del context.sockopts[option]


class Nothing(collections.defaultdict):
    """Keeps no value."""

    def __missing__(self, key):
        return []


def forget_outputs(shell):
    """Keeps IPython from remembering all that was ever printed and displayed."""
    shell._tee = lambda channel: contextlib.nullcontext()
    if hasattr(shell.history_manager, "outputs"):
        shell.history_manager.outputs = Nothing(list)


def exit_with(fd):
    """Ends this process when the server does: the other end of a pipe closes."""
    os.set_inheritable(fd, False)
    os.read(fd, 1)
    os._exit(0)


class Run:
    """Prepares each run by what the server sent along with the code."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.generation = None
        self.sandbox = {}
        self.before = {}
        self.streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}

    def begin(self):
        sent = (self.kernel.get_parent("shell").get("metadata") or {}).get("rundlet") or {}
        generation = sent.get("generation")
        if generation != self.generation:
            if self.generation is not None:
                reseed()
            self.generation = generation
        sandbox = sent.get("sandbox") or {}
        if sandbox != self.sandbox:
            self.sandbox = sandbox
            os.environ.update(sandbox)
        env = sent.get("env") or {}
        self.before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)

    def end(self):
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.before = {}
        # The kernel flushes them before it says that the code has ended, and never does if that fails.
        for name, stream in self.streams.items():
            try:
                if getattr(sys, name) is not None:
                    getattr(sys, name).flush()
            except BaseException as why:
                setattr(sys, name, stream)
                self.streams["stderr"].write(f"[sys.{name} was replaced, since it cannot be flushed: {type(why).__name__}]\n")


def reseed():
    """Makes random numbers differ from those of other copies of this machine."""
    import random

    random.seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)
    numpy = sys.modules.get("numpy")
    if hasattr(numpy, "random"):
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if hasattr(torch, "seed"):
        torch.seed()


def main():
    sys.path[0] = ""
    server, ready = int(os.environ.pop("RUNDLET_SERVER_FD")), int(os.environ.pop("RUNDLET_READY_FD"))
    threading.Thread(target=exit_with, args=(server,), daemon=True).start()
    app = App.instance()
    app.initialize(sys.argv[1:] + ["--HistoryManager.enabled=False"])
    forget_outputs(app.shell)
    run = Run(app.kernel)
    app.shell.events.register("pre_execute", run.begin)
    app.shell.events.register("post_execute", run.end)
    run.generation = os.environ.pop("RUNDLET_GENERATION", None)
    sys.path.insert(0, HERE)
    import rundlet_formats

    sys.path.remove(HERE)
    rundlet_formats.register(app.shell.display_formatter)
    os.write(ready, b"x")
    os.close(ready)
    app.start()


if __name__ == "__main__":
    main()
