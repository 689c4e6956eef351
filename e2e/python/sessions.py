"""Clients of the asynchronous SDK that go through sessions until the time is up: see js/sessions.mjs.

python python/sessions.py SECONDS CLIENTS SANDBOX PAUSE
"""

import asyncio
import json
import os
import random
import sys
import time
import traceback
import urllib.request

from e2b import AsyncSandbox

seconds, clients, shared, pause = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
end = time.monotonic() + seconds
sessions, errors = 0, []


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def get(url):
    with urllib.request.urlopen(url) as r:
        return r.read().decode()


async def think():
    """Waits as long as a client does between two steps."""
    await asyncio.sleep(random.random() * pause)


async def session(own, text):
    sandbox = await (AsyncSandbox.create(timeout=600) if own else AsyncSandbox.connect(shared))
    try:
        await think()
        file = f"/home/user/{text}"
        expect("run", (await sandbox.commands.run(f"echo {text}")).stdout, text + "\n")
        await think()
        await sandbox.files.write(file, text)
        await think()
        expect("read", await sandbox.files.read(file), text)
        if own:
            await sandbox.commands.run("python3 -m http.server 8000 --directory /home/user", background=True, timeout=0)
            await sandbox.commands.run("until (: </dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.05; done")
        await think()
        url = f"{os.environ['E2B_API_URL']}/sandbox-proxy/{sandbox.sandbox_id}/ports/8000/{text}"
        expect("port", await asyncio.to_thread(get, url), text)
        await sandbox.files.remove(file)
    finally:
        if own:
            await sandbox.kill()


async def client(n):
    global sessions
    i = 0
    while time.monotonic() < end:
        began = time.strftime("%H:%M:%S")
        try:
            await session(n % 3 == 0, f"py-{os.getpid()}-{n}-{i}")
            sessions += 1
        except Exception:
            errors.append(f"{began}: {traceback.format_exc()}")
        i += 1


async def main():
    await asyncio.gather(*(client(n) for n in range(clients)))
    print(json.dumps({"sessions": sessions, "errors": errors}))


asyncio.run(main())
