"""What `ssh gpu-host` does to the worker's pipe: the worker runs, but sees no folder of the panel's and is elsewhere.

    python remote_pipe.py WORKER ...

Passes lines both ways. The panel's folder is named to the worker as one that does not exist, and the worker's host as
another one.
"""

import json
import subprocess
import sys
import threading


def main():
    worker = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    threading.Thread(target=pass_requests, args=(worker,), daemon=True).start()
    for line in worker.stdout:
        event = json.loads(line)
        if event["event"] == "ready":
            event["host"] = "gpu-host"
            line = json.dumps(event).encode() + b"\n"
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    sys.exit(worker.wait())


def pass_requests(worker):
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["request"] == "open":
            request["folder"] = "/not/on/this/machine"
            line = json.dumps(request).encode() + b"\n"
        worker.stdin.write(line)
        worker.stdin.flush()
    worker.stdin.close()


if __name__ == "__main__":
    main()
