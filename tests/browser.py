"""A real browser: headless Chromium, driven by Selenium."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--window-size=1400,900"),
)
_LEARNS = 2 * "await new Promise(go => requestAnimationFrame(go));"
"""Frames in which a page learns of its new size or medium."""


class Browser:
    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, address: str = "") -> None:
        """From its file, as by a double click; all charts are drawn when this returns."""
        self.driver.get("about:blank")  # a page at another `#address` would not be loaded anew
        self.driver.get(page.as_uri() + address)
        self.settle()

    def settle(self) -> None:
        """Until charts that are drawn once more have been."""
        self.run_async(
            "const charts = [...document.querySelectorAll('.chart')].filter(e => e.chart);"
            "charts.forEach(e => { if (!e.seen) { e.seen = true; e.queue = e.chart(); } });"
            "let queues;"
            "do { queues = charts.map(e => e.queue); await Promise.all(queues); }"
            "while (charts.some((e, place) => e.queue !== queues[place]));"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """A script that may `await`, and `return`."""
        answer = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"(async function () {{ {script} }})(...arguments)"
            ".then(value => done({value}), error => done({error: String(error.stack)}));",
            *arguments,
        )
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def text(self, selector: str) -> str:
        """All of its text, shown or not."""
        found: str = self.run("return document.querySelector(arguments[0]).textContent", selector)
        return found

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def click(self, selector: str) -> None:
        """With the pointer, where the element is: fails if something lies over it."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.settle()

    def choose(self, selector: str, value: str) -> None:
        script = (
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event(e.matches('input') ? 'input' : 'change'));"
        )
        self.run(script, selector, value)
        self.settle()

    def command(self, name: str, **parameters: Any) -> Any:
        """Of the Chrome DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def size(self, width: int, height: int = 900) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.run_async(_LEARNS)
        self.settle()

    def medium(self, scheme: str = "light", medium: str = "screen") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=medium, features=features)
        self.run_async(_LEARNS)

    def complaints(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last call, even if refused; files and the like aside."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [each["request"]["url"] for each in sent]
        return [url for url in urls if not url.startswith(("file:", "data:", "about:", "chrome"))]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Skips the test where there is no Chromium."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip(
            "no browser: chromium and chromedriver are not on the PATH (Debian: apt-get install "
            "chromium chromium-driver), so that the page was not tried in one"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driven = webdriver.Chrome(options=options, service=Service(driver))
    try:
        driven.set_script_timeout(60)
        yield Browser(driven)
    finally:
        driven.quit()
