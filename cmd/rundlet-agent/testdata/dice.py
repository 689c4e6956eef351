# A server with random state: "careful" makes it look for a new generation.
import os, random, signal, socket

random.random()


def generation():
    with open("/run/rundlet/generation") as f:
        return f.read()


seen = generation()
signal.signal(signal.SIGHUP, lambda *_: random.seed())
server = socket.create_server(("127.0.0.1", 8000))
with open("/tmp/server.pid", "w") as f:
    f.write(str(os.getpid()))
open("/tmp/ready", "w").close()
while True:
    conn, _ = server.accept()
    if conn.recv(64).strip() == b"careful" and generation() != seen:
        seen = generation()
        random.seed()
    conn.sendall(f"{random.random()}\n".encode())
    conn.close()
