# Writes to its output as fast as that takes it, and counts how often it did.
import os, sys

count = os.open("/tmp/count", os.O_WRONLY | os.O_CREAT)
block = os.urandom(65536)  # which no compression on the way makes smaller
n = 0
while True:
    os.write(1, block)
    n += 1
    os.pwrite(count, b"%020d\n" % n, 0)
