# Says what it reads from a FIFO over one connection, and writes how that went.
import os, socket, sys

s = socket.create_connection((sys.argv[1], 7000))
s.sendall(b"hello\n")
os.mkfifo("/tmp/say")
open("/tmp/ready", "w").close()
while True:
    for line in open("/tmp/say"):
        try:
            s.sendall(line.encode())
            result = "sent"
        except OSError as e:
            result = e.strerror
        with open("/tmp/result.new", "w") as f:
            f.write(result + "\n")
        os.rename("/tmp/result.new", "/tmp/result")
