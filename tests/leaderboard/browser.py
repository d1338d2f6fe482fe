"""Debian's chromium, driven by its own driver; nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Browser:
    """A browser with one page: opens it in a theme and a width, asks it, and remembers what it complained of."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.run = driver.execute_script

    def open(
        self, page: Path, theme: str = "light", width: int = 1200, height: int = 800, scripts: bool = True
    ) -> None:
        self.driver.get_log("browser")
        tell = self.driver.execute_cdp_cmd
        tell("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        tell("Emulation.setDeviceMetricsOverride", screen)
        tell("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        self.driver.get(page.as_uri())

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def column(self, board: str, number: int) -> list[str]:
        """What is seen in a column of a board, row by row."""
        rows = f"document.querySelectorAll('#{board} tbody tr:not([hidden])')"
        return self.run(f"return [...{rows}].map(row => row.cells[{number}].innerText)")

    def choose(self, name: str, value: str) -> None:
        """Fill in a filter as a person does."""
        field = self.driver.find_element("css selector", f"#filters [name={name}]")
        if field.tag_name == "input":
            field.clear()
        field.send_keys(value)

    @property
    def found(self) -> str:
        return self.driver.find_element("id", "found").text


@contextmanager
def started() -> Iterator[Browser]:
    """A browser without a window, ended with the block."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
