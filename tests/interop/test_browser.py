"""A learner in a real browser: JupyterLab on the learner's edition, guesses, lines, sliders, a restart, a reload, a lab.

    make test-browser       (needs Chromium, such as Debian's package `chromium`; CHROMIUM names another one)

Each test stands for what somebody does, from a folder that `make lab` would have laid. SCREENSHOTS keeps pictures there.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tools.edition import lay

sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser installs it")
ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
MINUTES = 60_000  # a slow machine compiles, loads and draws; in milliseconds
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A learner's folder and the address of a JupyterLab on it."""
    home = tmp_path_factory.mktemp("learner")
    lay(ROOT / "notebooks", home / "my_notebooks")
    shutil.copytree(ROOT / "labs", home / "labs")
    shutil.copytree(ROOT / "captures", home / "captures")
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # every cell in the page, so that a test can find it without scrolling
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {"QCOURSE_CACHE": str(home / "cache"), "JUPYTER_CONFIG_DIR": str(home / "config")}
    env.pop("QCOURSE_STATIC", None)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={home}", "--IdentityProvider.token=x", "--expose-app-in-browser",
                f"--LabApp.user_settings_dir={home / 'settings'}"]  # fmt: skip
    with open(home / "server.txt", "w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as server:
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=x"):
                break
            time.sleep(1)
        yield home, f"http://127.0.0.1:{port}"
        server.terminate()


class Learner:
    """What a person can do in a notebook."""

    def __init__(self, page, base: str, path: str):
        self.page, self.base = page, base
        self.open(path)

    def open(self, path: str) -> None:
        """Go to a notebook and wait until its kernel is ready."""
        self.page.goto(f"{self.base}/lab/tree/{path}?token=x&reset")
        self.ready()

    def ready(self) -> None:
        """Wait for the notebook in front, and its kernel."""
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell", timeout=2 * MINUTES)
        session = "window.jupyterapp.shell.currentWidget?.sessionContext?.session"
        self.page.wait_for_function(f"() => {session}?.kernel?.status === 'idle'", timeout=2 * MINUTES)

    def command(self, name: str) -> None:
        """A command of JupyterLab's menus."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)

    def cell(self, text: str):
        """The cell whose source or output holds a text."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell", has_text=text).first

    def quiet(self) -> None:
        """Wait until nothing runs or waits to run."""
        self.page.wait_for_timeout(500)
        prompts = "[...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-InputPrompt')]"
        self.page.wait_for_function(f"() => !{prompts}.some(p => p.textContent.includes('*'))", timeout=5 * MINUTES)

    def run(self, cell) -> None:
        """Shift+Enter in a cell."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self.quiet()

    def run_all(self) -> None:
        """Run All Cells."""
        self.command("notebook:run-all-cells")
        self.page.wait_for_timeout(500)
        self.quiet()

    def write(self, cell, old: str, new: str) -> None:
        """Change a cell's source and run it."""
        source = cell.locator(".cm-content").inner_text()
        assert old in source, source
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source.replace(old, new))
        self.page.keyboard.press("Shift+Enter")
        self.quiet()

    def restart(self) -> None:
        """Restart the kernel, and confirm."""
        self.command("kernelmenu:restart")
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        self.page.wait_for_timeout(2000)
        self.ready()

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")
        self.page.wait_for_timeout(2000)

    def errors(self) -> list[str]:
        """Tracebacks and broken widgets in sight; a widget that is still loading is given time first."""
        loading = "document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)').innerText.includes('Loading widget...')"
        with contextlib.suppress(sync_api.TimeoutError):
            self.page.wait_for_function(f"() => !{loading}", timeout=MINUTES)
        panel = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        broken = [
            t for t in panel.all_inner_texts() for t in re.findall(r"Error displaying widget.*|Loading widget\.\.\.", t)
        ]
        return broken + panel.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()


@pytest.fixture
def page():
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(MINUTES)
        yield page
        browser.close()


def picture(page, name: str) -> None:
    """Keep a screenshot where SCREENSHOTS says."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_guess_opens_its_answer_and_survives_a_restart_and_a_reload(page, classroom):
    home, base = classroom
    me = Learner(page, base, "my_notebooks/00_dont_panic.ipynb")
    assert "computed: 239" not in page.locator(".jp-Notebook").inner_text()  # nothing is given away
    me.run_all()
    assert me.errors() == []
    question = me.cell("A model with 7 billion weights")
    picture(page, "00-before")
    assert me.cell("your guess first (00.1)").is_visible()
    question.locator("input").fill("about 100")
    question.get_by_role("button", name="Commit").click()
    answer = me.cell("you said 100 tokens/s")
    answer.wait_for()
    assert "computed: 239 tokens/s" in answer.inner_text()
    me.cell("Fewer bits a weight").locator("img.qc-figure").wait_for()
    picture(page, "00-after")
    me.save()
    me.restart()
    picture(page, "00-restarted")
    assert me.errors() == []
    page.reload()
    me.ready()
    picture(page, "00-reloaded")
    assert me.errors() == [] and me.cell("you said 100 tokens/s").is_visible()
    me.run_all()
    assert me.errors() == [] and "you said 100 tokens/s" in me.cell("computed: 239").inner_text()
    assert json.loads((home / "cache" / "guesses.json").read_text())["00.1"]["value"] == 100


def test_a_wrong_and_a_right_line_a_slider_and_the_way_to_the_lab(page, classroom):
    me = Learner(page, classroom[1], "my_notebooks/01_fake_quant.ipynb")
    me.run_all()
    assert me.errors() == []
    line = me.cell('line("01.a", s)')
    assert "not attempted" in line.inner_text()
    me.write(line, "s = ...", "s = w.max() / 127")
    assert "a negative one is louder" in line.inner_text()
    line.get_by_text("Show the line").first.click()
    assert line.get_by_text("s = w.abs().max() / 127").first.is_visible()
    picture(page, "01-wrong-line")
    me.write(line, "s = w.max() / 127", "s = w.abs().max() / 127")
    assert "01.a s: right" in line.inner_text()
    picture(page, "01-right-line")
    stairs = me.cell("plots.staircase")
    slider, image = stairs.locator("input[type=range]"), stairs.locator("img.qc-figure")
    assert "4 bits" in image.get_attribute("alt")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    stairs.locator("img.qc-figure[alt^='3 bits']").wait_for()
    assert slider.get_attribute("aria-valuetext") == "3"
    picture(page, "01-dragged")
    page.locator("a", has_text="Lab 01").last.click()
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.context.path === 'labs/01_fake_quant.ipynb'")
    me.ready()
    me.run_all()
    task = me.cell("def dequantize")
    body = task.locator(".cm-content").inner_text()
    unfinished = next(row for row in body.split("\n") if "NotImplementedError" in row)
    me.write(task, unfinished.strip(), "return codes.float() * scale.float()")
    me.run(me.cell('check("01.2", dequantize)'))
    assert "01.2 dequantize: right" in me.cell('check("01.2", dequantize)').inner_text()
    picture(page, "01-lab")


def test_bits_are_clicked_and_a_curve_is_drawn(page, classroom):
    me = Learner(page, classroom[1], "my_notebooks/02_int4_groups_and_packing.ipynb")
    me.run_all()
    picture(page, "02-all")
    byte = me.cell("NibbleView(low=-3")
    assert "0xD5" in byte.inner_text()
    byte.get_by_role("button", name="bit 0: 1").click()
    byte.get_by_text("0xD4").wait_for()
    word = me.cell("WordView()")
    word.get_by_role("button", name="bit 17: 0").click()
    word.get_by_text("n = 1").wait_for()
    picture(page, "02-bits")
    me.open("my_notebooks/03_smoothquant_outliers.ipynb")
    me.run_all()
    curve = me.cell('"03.s1"')
    curve.locator("svg").scroll_into_view_if_needed()
    box = curve.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 140, steps=8)
    page.mouse.move(box["x"] + 500, box["y"] + 40, steps=8)
    page.mouse.up()
    curve.locator("circle").first.focus()
    page.keyboard.press("ArrowDown")
    curve.get_by_role("button", name="Commit").click()
    me.cell("shape.reveal(").locator("img.qc-figure").wait_for()
    picture(page, "03-curve")


def test_a_float_is_taken_apart_by_clicks_and_a_block_by_dragging(page, classroom):
    me = Learner(page, classroom[1], "my_notebooks/05_float_formats.ipynb")
    me.run_all()
    assert me.errors() == []
    view = me.cell("view = FloatView(E4M3")
    view.get_by_role("button", name="bit 7: 0, sign").click()
    view.get_by_text("0xB8 = -1").first.wait_for()
    picture(page, "05-float")
    slider = view.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowLeft")
    view.get_by_text("0xB9").first.wait_for()
    block = me.cell("BlockView(W")
    block.locator("input[type=range]").last.focus()
    page.keyboard.press("End")
    block.get_by_text("quiet").first.wait_for()
    block.scroll_into_view_if_needed()
    picture(page, "05-block")
    zoo = me.cell('picture(zoo, "the shipped model")')
    zoo.scroll_into_view_if_needed()
    picture(page, "05-zoo")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["my_notebooks/01_fake_quant.ipynb", "my_notebooks/02_int4_groups_and_packing.ipynb"])
def test_axe_finds_nothing_serious_in_our_own_content(page, classroom, path, dark):
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
    page.set_viewport_size({"width": 1024, "height": 900})
    me = Learner(page, classroom[1], path)
    if dark:
        page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    me.run_all()
    for button in page.get_by_role("button", name="Show me").all():
        button.click()
    page.wait_for_timeout(3000)
    picture(page, f"{Path(path).stem[:2]}-1024-{'dark' if dark else 'light'}")
    found = Axe().run(page, context={"include": [[".jp-OutputArea-output"], [".jp-MarkdownOutput"]]})
    serious = [
        (v["id"], v["nodes"][0]["html"][:200])
        for v in found.response["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
    broken = "td => td.scrollWidth > td.clientWidth + 1"
    cells = "[...document.querySelectorAll('.jp-OutputArea-output td')]"
    wide = page.evaluate(f"() => {cells}.filter({broken}).length")
    assert wide == 0, "a word in a table is broken or cut"
    if dark:
        page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
