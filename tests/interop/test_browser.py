"""What a learner does, in a real JupyterLab in a real browser: `make test-browser` (needs Chromium, Debian's will do).

Guess, see the answer, restart the kernel, reload: the guess is still there and nothing says "Error displaying widget".
Drag a slider. Follow the link to the lab, write a wrong and a right function, and get their cards.
"""

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

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
ROOT = Path(__file__).parents[2]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
ROWS = """def quantize_per_channel(W, clip=1.0):
s = clip * W.float().abs().amax(1, keepdim=True) / 127
s = torch.where(s == 0, 1.0, s)
return torch.clamp(torch.round(W.float() / s), -127, 127).to(torch.int8), s
"""  # (JupyterLab's editor indents what is typed after a colon)
PATIENCE = 240_000  # ms; a busy machine is no mistake


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder of one's own, served: (folder, address)."""
    from tools.edition import lay

    folder = tmp_path_factory.mktemp("course")
    lay(ROOT / "notebooks", folder / "my_notebooks")
    for name in ("labs", "captures"):
        shutil.copytree(ROOT / name, folder / name)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {"QCOURSE_CACHE": str(folder / "cache"), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    env.pop("QCOURSE_STATIC", None)
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", *options, "--IdentityProvider.token=t"],
        cwd=folder, env=env, stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api/status?token=t", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield folder, address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page(course):
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def open_notebook(page, course, path):
    page.goto(f"{course[1]}/lab/tree/{path}?token=t&reset")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")


def cell(page, text):
    """The code cell that holds a text."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", has_text=text).first


def run(page, text):
    """Run a cell with Shift+Enter and wait until it has its number."""
    c = cell(page, text)
    c.scroll_into_view_if_needed()
    c.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    deadline = time.monotonic() + PATIENCE / 1000
    while not re.search(r"\[\d+\]", c.locator(".jp-InputPrompt").inner_text()):
        assert time.monotonic() < deadline, f"{text!r} never finished"
        time.sleep(0.3)
    return c


def no_error(page):
    text = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").inner_text()
    assert "Error displaying widget" not in text and "Traceback" not in text


def test_a_guess_opens_its_answer_and_survives_restart_and_reload(page, course):
    open_notebook(page, course, "my_notebooks/00_dont_panic.ipynb")
    run(page, "import lzma")
    asked = run(page, "tokens_a_second = predict(")
    answer = run(page, "tokens_a_second.reveal(")
    figure = run(page, "tokens_a_second.then(")
    assert "your guess first" in answer.inner_text() and figure.locator("img").count() == 0
    asked.locator("input[type=text]").fill("about 479")
    asked.locator("button", has_text="Commit").click()
    answer.get_by_text("off by a factor of 2").wait_for()
    figure.locator("img").first.wait_for()
    no_error(page)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)

    open_notebook(page, course, "my_notebooks/00_dont_panic.ipynb")  # reload, and a new kernel below
    page.locator("[data-jupyter-action='kernelmenu:restart'], button[data-command='kernelmenu:restart']").first.click()
    page.locator(".jp-Dialog button", has_text="Restart").last.click()
    run(page, "import lzma")
    asked = run(page, "tokens_a_second = predict(")
    assert asked.locator("input[type=text]").input_value() == "479" and "kept: 479 tokens/s" in asked.inner_text()
    answer = run(page, "tokens_a_second.reveal(")
    assert "you said 479 tokens/s; computed: 239 tokens/s" in answer.inner_text()
    assert run(page, "tokens_a_second.then(").locator("img").count() == 1
    no_error(page)


def test_a_slider_redraws_the_picture(page, course):
    open_notebook(page, course, "my_notebooks/01_fake_quant.ipynb")
    for text in ("import torch", "torch.manual_seed(0)", "w = W[0]"):
        run(page, text)
    stairs = run(page, "stairs = explore(")
    picture = stairs.locator("img").first
    picture.wait_for()
    before = picture.get_attribute("src")
    stairs.locator(".noUi-handle, [role=slider]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([img, old]) => img.src !== old", arg=[picture.element_handle(), before])
    no_error(page)


def test_the_link_leads_to_the_lab_and_a_right_line_gets_its_card(page, course):
    open_notebook(page, course, "my_notebooks/01_fake_quant.ipynb")
    link = page.locator(".jp-Notebook a", has_text="lab 01").first
    link.click()
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", has_text="def quantize_per_channel").first.wait_for()
    run(page, "import")
    for step, word in (("/ 120", "wrong"), ("/ 127", "right")):
        cell(page, "def quantize_per_channel").locator(".cm-content").click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(ROWS.replace("/ 127", step))
        page.keyboard.press("Shift+Enter")
        card = run(page, 'check("01.1"')
        card.get_by_text(re.compile(rf"01\.1.*{word}", re.S)).first.wait_for()
    no_error(page)
