#!/usr/bin/env python3
"""Opens a report in headless Chromium without a network, and looks at it as a reader would.

    check_page.py PAGE.html [PICTURES]

No message on the console and no request but for the page itself; every text has enough contrast in light and dark (WCAG
2.2, 1.4.3); nothing is cut on a narrow screen or on paper; headings, names and charts are as assistive programs need
them. With PICTURES, a prefix of names, it leaves pictures and the PDF. Exits with 1 and a message at the first fault.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

# The width of A4 within the margins that the style sheet sets, in CSS pixels.
PAPER = 660

CONTRAST = """
(() => {
  const parse = (text) => {
    const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a === undefined ? 1 : a];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const faults = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    if (["TITLE", "DESC", "STYLE"].includes(element.tagName.toUpperCase())) continue;
    const style = getComputedStyle(element);
    const color = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(element))].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    texts += 1;
    if (ratio < 4.5 || color[3] < 1) faults.push([ratio.toFixed(2), element.tagName, walker.currentNode.data.slice(0, 40)]);
    if (parseFloat(style.fontSize) < 12) faults.push(["small", element.tagName, style.fontSize]);
  }
  return { faults, texts };
})()
"""

# Shapes have 3:1 against the page (1.4.11).
SHAPES = """
(() => {
  const light = (text) => {
    const [x, y, z] = text.match(/[\\d.]+/g).map((v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  const faults = [];
  for (const shape of document.querySelectorAll("svg rect:not(.track), svg circle, svg polyline, svg .whisker")) {
    const style = getComputedStyle(shape);
    const own = light(style.fill === "none" ? style.stroke : style.fill);
    const ratio = (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
    if (ratio < 3) faults.push([ratio.toFixed(2), shape.tagName, shape.getAttribute("class")]);
  }
  return faults;
})()
"""

STRUCTURE = """
(() => {
  const faults = [];
  const all = (query) => [...document.querySelectorAll(query)];
  if (document.documentElement.lang !== "en") faults.push("no language");
  if (all("h1").length !== 1) faults.push("not one h1");
  let last = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) faults.push("a heading is skipped before " + heading.textContent);
    last = level;
  }
  const ids = all("[id]").map((element) => element.id);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  if (twice.length) faults.push("ids occur twice: " + twice);
  for (const link of all("a")) {
    if (!link.getAttribute("href").startsWith("#")) faults.push("a link leads away: " + link.href);
    else if (!document.querySelector(link.getAttribute("href"))) faults.push("a link leads nowhere: " + link.href);
  }
  for (const svg of all("svg")) {
    const names = svg.getAttribute("aria-labelledby").split(" ").map((id) => document.getElementById(id));
    if (names.length !== 2 || names.some((name) => !name || !name.textContent)) faults.push("a chart has no name");
    let next = svg.closest("figure").nextElementSibling;
    if (!next || !next.querySelector("table")) faults.push("a chart has no table: " + svg.textContent.slice(0, 60));
  }
  for (const table of all("table")) {
    if (!table.caption || !table.caption.textContent) faults.push("a table has no caption");
    if (table.querySelectorAll("tbody tr").length !== table.querySelectorAll("tbody th[scope=row]").length) faults.push("a row has no name");
  }
  return faults;
})()
"""

# What is wider than its place, and what is not shown.
CUT = """
(() => {
  const wide = document.documentElement.clientWidth;
  const faults = [];
  if (document.documentElement.scrollWidth > wide) faults.push(["the page", document.documentElement.scrollWidth, wide]);
  for (const element of document.querySelectorAll(%s)) {
    const box = element.getBoundingClientRect();
    if (box.right > wide + 1 || box.width === 0) faults.push([element.id || element.tagName, box.right, wide]);
  }
  return faults;
})()
"""


class Browser:
    """Chromium, by its protocol for debuggers over two pipes."""

    def __init__(self, folder):
        ours, theirs = os.pipe(), os.pipe()

        def place():
            read, write = os.dup(ours[0]), os.dup(theirs[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        options = [
            "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-extensions", "--proxy-server=127.0.0.1:9", f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen(
            ["chromium", *options], preexec_fn=place, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.to, self.answers = ours[1], os.fdopen(theirs[0], "rb", buffering=0)
        self.number, self.session, self.begun, self.events = 0, None, b"", []

    def receive(self):
        while b"\0" not in self.begun:
            piece = self.answers.read(1 << 20)
            if not piece:
                sys.exit("chromium ended early")
            self.begun += piece
        message, self.begun = self.begun.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def until(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def value(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(f"the check fails: {result['exceptionDetails']}")
        return result["result"]["value"]

    def end(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait()


def screen(browser, width, height=1000):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


def media(browser, kind, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media=kind, features=features)


def none(faults, what):
    if faults:
        sys.exit(f"{what}: {faults[:10]}")


def quiet(browser, address):
    """No message, and one request: that of the page."""
    for event in browser.events:
        name, parameters = event.get("method"), event.get("params", {})
        if name in ("Runtime.consoleAPICalled", "Log.entryAdded", "Runtime.exceptionThrown", "Audits.issueAdded"):
            sys.exit(f"a message on the console: {parameters}")
        if name == "Network.requestWillBeSent" and parameters["request"]["url"] != address:
            sys.exit(f"a request: {parameters['request']['url']}")


def picture(browser, name, height):
    data = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip={"x": 0, "y": 0, "width": 1280, "height": height, "scale": 1})
    with open(name, "wb") as file:
        file.write(base64.b64decode(data["data"]))


def check(browser, address, pictures):
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
        browser.call(f"{domain}.enable")
    screen(browser, 1280)
    browser.call("Page.navigate", url=address)
    browser.until("Page.loadEventFired")
    none(browser.value(STRUCTURE), "the structure")
    for scheme in ("light", "dark"):
        media(browser, "screen", scheme)
        contrast = browser.value(CONTRAST)
        none(contrast["faults"], f"too little contrast in {scheme}")
        if contrast["texts"] < 100:
            sys.exit(f"only {contrast['texts']} texts were looked at")
        none(browser.value(SHAPES), f"shapes with too little contrast in {scheme}")
        if pictures:
            picture(browser, f"{pictures}-{scheme}.png", 2400)
    # A phone: wide things scroll in their own place (1.4.10).
    screen(browser, 320)
    none(browser.value(CUT % "'p, h1, h2, h3, .scroll, pre'"), "cut on a narrow screen")
    screen(browser, PAPER)
    media(browser, "print", "light")
    none(browser.value(CUT % "'p, table, td, svg, pre, details'"), "cut on paper")
    pdf = base64.b64decode(browser.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    if not pdf.startswith(b"%PDF-") or len(pdf) < 20_000:
        sys.exit("no PDF")
    if pictures:
        with open(f"{pictures}.pdf", "wb") as file:
            file.write(pdf)
    quiet(browser, address)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: check_page.py PAGE.html [PICTURES]")
    folder = tempfile.mkdtemp()
    browser = Browser(folder)
    try:
        check(browser, "file://" + os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    finally:
        browser.end()
        shutil.rmtree(folder, ignore_errors=True)


main()
