"""The README's picture of the leaderboard: the demonstration board in a browser, a page in light and one in dark.

    python -m tests.leaderboard.screenshot docs/leaderboard.png
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from leaderboard import verification
from leaderboard.site.build import write_site
from leaderboard.store import load_all
from tests.leaderboard import demo
from tests.leaderboard.browser import Browser, started

WIDTH, HEIGHT, COLOURS = 1040, 1240, 64


def picture(browser: Browser, page: Path, theme: str) -> Image.Image:
    """The upper part of a page."""
    browser.open(page, theme, WIDTH, HEIGHT)
    return Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")


def main(target: Path) -> None:
    """Both pages beside each other, in few colours."""
    with tempfile.TemporaryDirectory() as folder, started() as browser:
        board, site = Path(folder, "board"), Path(folder, "site")
        demo.keep(board, demo.board())
        loaded = load_all(board)
        write_site(loaded, verification.load_all(board), site, lambda done, total: None)
        ranked = [one for one in loaded.submissions if one.derived.score is not None and one.model == "cnn"]
        best = max(ranked, key=lambda one: one.derived.ratio_lo)
        both = Image.new("RGB", (2 * WIDTH, HEIGHT))
        both.paste(picture(browser, site / "index.html", "light"), (0, 0))
        both.paste(picture(browser, site / "submissions" / f"{best.submission_id}.html", "dark"), (WIDTH, 0))
        both.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
