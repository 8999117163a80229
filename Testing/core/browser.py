"""A headless Chromium, spoken to by the DevTools protocol through two pipes: pages are tested as people see them."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: root may not have one. No network: a page that asks for something fails. The rest only saves time.
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--no-default-browser-check", "--mute-audio", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip

# Pictures that arrive may move what lies below them: an element stands still when two frames show it in one place.
FIND_STILL = """async selector => {
  const element = document.querySelector(selector), frame = () => new Promise(requestAnimationFrame)
  let x, y, moves = true
  while (moves) {
    element.scrollIntoView({block: "center"})
    await frame()
    const box = element.getBoundingClientRect(), [left, top] = [box.x + box.width / 2, box.y + box.height / 2]
    moves = left !== x || top !== y
    ;[x, y] = [left, top]
  }
  const found = document.elementFromPoint(x, y)
  return [x, y, element.contains(found) || found.contains(element)]
}"""


def find_browser():
    """Path of a Chromium of this machine; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a Chromium of its own.

    Args:
        folder: an empty one, for the browser's profile and for what is downloaded.

    Attributes:
        complaints: what was logged as a warning or an error, and exceptions that nothing caught.
        requests: addresses that the page asked for, but for those that hold their content.
        downloads: folder of what the page handed out.
    """

    def __init__(self, folder):
        self.complaints, self.requests = [], []
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        # The browser reads from its descriptor 3 and writes to 4.
        (reads, self._to), (self._from, writes) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (reads, writes)]
        self._process = subprocess.Popen(
            [find_browser(), *OPTIONS, f"--user-data-dir={folder / 'profile'}"], pass_fds=(3, 4),
            preexec_fn=lambda: [os.dup2(descriptor, at) for descriptor, at in zip(high, (3, 4), strict=True)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (reads, writes, *high):
            os.close(descriptor)
        self._numbers, self._left, self._events, self._session = itertools.count(1), b"", [], None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), eventsEnabled=True
        )

    def close(self):
        os.close(self._to)  # at which it ends
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def resize(self, width, height):
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, path):
        """Load a file, and wait until it is there."""
        self._events.clear()
        self._call("Page.navigate", url=path.as_uri())
        self._wait_for("Page.loadEventFired")

    def run(self, script):
        """Value of a script's last expression; a promise is waited for."""
        found = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector):
        """Click with the mouse in the middle of an element, once it stands still; it must lie there uncovered."""
        x, y, uncovered = self.run(f"({FIND_STILL})({json.dumps(selector)})")
        assert uncovered, f"{selector} is covered"
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def downloaded(self, selector):
        """Click something that hands out a file; its path."""
        self.click(selector)
        begun = self._wait_for("Browser.downloadWillBegin")
        while self._wait_for("Browser.downloadProgress")["state"] != "completed":
            pass
        return self.downloads / begun["suggestedFilename"]

    def screenshot(self, path):
        """Picture of the whole page."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Browser.", "Target.")):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _wait_for(self, method):
        """Parameters of the next event of a kind; pytest's limit ends a wait in vain."""
        while True:
            for at, event in enumerate(self._events):
                if event.get("method") == method:
                    return self._events.pop(at)["params"]
            self._events.append(self._read())

    def _read(self):
        while b"\0" not in self._left:
            more = os.read(self._from, 1 << 16)
            assert more, "the browser has ended"
            self._left += more
        line, _, self._left = self._left.partition(b"\0")
        message = json.loads(line)
        self._keep_complaint(message.get("method"), message.get("params", {}))
        return message

    def _keep_complaint(self, method, told):
        if method == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("warning", "error", "assert"):
            self.complaints.append(told["args"])
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("warning", "error"):
            self.complaints.append(told["entry"])
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(told["request"]["url"])
