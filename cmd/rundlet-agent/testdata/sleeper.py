# Prints how long a sleep of 3 seconds took by both clocks.
import time

wall, mono = time.time(), time.monotonic()
open("/tmp/ready", "w").close()
time.sleep(3)
print(time.time() - wall, time.monotonic() - mono, file=open("/tmp/slept", "w"), flush=True)
