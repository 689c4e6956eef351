# Holds memory.
import os, time

hoard = os.urandom(100 << 20)
open("/tmp/ready", "w").close()
time.sleep(3600)
