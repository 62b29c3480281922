#!/usr/bin/env python3
"""Takes the pictures of docs/debugging.md again, from a dump of MiniLM with measured times.

Usage: monograph profile minilm --dump dumps/ && tests/dump/pictures.py dumps/minilm [FOLDER]

FOLDER is docs/images unless given. Look at them before they are committed.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from browser import Page  # noqa: E402

OPEN = ("encoder", "encoder.layer.0", "encoder.layer.0.intermediate", "encoder.layer.0.output")


def size(page, width, height):
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.run("window.dispatchEvent(new Event('resize'))")
    page.settle()


def take(page, folder):
    size(page, 1100, 620)
    page.click("nav [data-view=graph]")
    page.click("#close-all")
    for group in OPEN:
        page.run(f"document.querySelector('.folded[data-group=\"{group}\"]')?.dispatchEvent("
                 "new MouseEvent('click', {bubbles: true}))")
        page.settle()
    page.run("[...document.querySelectorAll('label')].find((l) => l.textContent.includes('Colour by')).click()")
    page.run("select(indexByName.get('linear_4'))")
    page.settle()
    page.run("[...document.querySelectorAll('#details button')].find((b) => b.textContent === 'In the graph').click()")
    page.settle()
    page.screenshot(folder / "graph.png")
    page.run("select(-1)")
    page.click("nav [data-view=arena]")
    page.screenshot(folder / "arena.png")
    size(page, 1000, 420)
    page.click("nav [data-view=passes]")
    page.screenshot(folder / "passes.png")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    html = pathlib.Path(sys.argv[1]).resolve() / "index.html"
    images = pathlib.Path(__file__).resolve().parents[2] / "docs" / "images"
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else images
    with Page(1100, 620) as page:
        page.open(f"{html.as_uri()}?theme=light")
        take(page, folder)
        complaints = page.complaints()
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
