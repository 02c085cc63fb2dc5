"""A real JupyterHub on loopback, with docs/jupyterhub_config.py: one student logs in, opens lab 01 and sees it.

`make interop-classroom`. Needs `configurable-http-proxy` on the PATH (npm).
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("jupyterhub")
requests = pytest.importorskip("requests")

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "qcourse" / "study" / "starters" / "01_fake_quant.ipynb"


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A running hub: its address, and the folder of the students' homes."""
    if shutil.which("configurable-http-proxy") is None:
        pytest.skip("configurable-http-proxy is not installed (npm install configurable-http-proxy)")
    base = tmp_path_factory.mktemp("hub")
    course = base / "course"  # as if freshly cloned: labs as they are handed out
    (course / "labs").mkdir(parents=True)
    shutil.copy(STARTER, course / "labs")
    shutil.copytree(
        ROOT / "notebooks", course / "notebooks", ignore=lambda _, names: [n for n in names if not n.startswith("00")]
    )
    port, api, proxy = free_ports(3)
    env = os.environ | {
        "QCOURSE_ROOT": str(course), "QCOURSE_HOMES": str(base / "homes"), "QCOURSE_HUB_PASSWORD": "a password",
        "QCOURSE_HUB_PORT": str(port), "QCOURSE_HUB_API_PORT": str(api), "QCOURSE_PROXY_API_PORT": str(proxy),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "docs" / "jupyterhub_config.py")]
    with open(base / "log", "w") as log:
        process = subprocess.Popen(command, cwd=base, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 900
    try:
        while True:
            assert process.poll() is None and time.monotonic() < end, (base / "log").read_text()
            try:
                if requests.get(f"{address}/hub/health", timeout=2).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.3)
        yield address, base / "homes"
    finally:
        process.terminate()
        process.wait(30)


def log_in(address, name, password="a password"):
    session = requests.Session()
    page = session.get(f"{address}/hub/login", timeout=300)
    token = re.search(r'name="_xsrf"\s+value="([^"]+)"', page.text)[1]
    form = {"username": name, "password": password, "_xsrf": token}
    return session, session.post(f"{address}/hub/login", data=form, params={"next": "/hub/spawn"}, timeout=600)


def opened(session, address, name, path):
    """The page in JupyterLab, then the notebook as the student's own server hands it to the browser, once it is up."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        page = session.get(f"{address}/user/{name}/lab/tree/{path}", timeout=300)  # also lets the server know who she is
        if "/user/" not in page.url or "JupyterLab" not in page.text:
            time.sleep(0.5)
            continue
        answer = session.get(f"{address}/user/{name}/api/contents/{path}", timeout=300)
        assert answer.ok, answer.text
        return answer.json()
    raise AssertionError(f"{page.status_code} {page.url}: {page.text[:500]}")


def test_a_student_logs_in_and_sees_lab_01(hub):
    address, homes = hub
    session, _ = log_in(address, "ann")
    book = opened(session, address, "ann", "labs/01_fake_quant.ipynb")
    starter = json.loads(STARTER.read_text(encoding="utf-8"))
    assert [c["source"] for c in book["content"]["cells"]] == ["".join(c["source"]) for c in starter["cells"]]
    assert opened(session, address, "ann", "my_notebooks/00_dont_panic.ipynb")["type"] == "notebook"

    mine = homes / "ann" / "labs" / "01_fake_quant.ipynb"  # her work is not overwritten at the next login
    mine.write_text(json.dumps(starter | {"cells": starter["cells"][:1]}), encoding="utf-8")
    log_in(address, "ann")
    assert len(opened(session, address, "ann", "labs/01_fake_quant.ipynb")["content"]["cells"]) == 1


def test_a_wrong_password_opens_nothing(hub):
    address, homes = hub
    session, answer = log_in(address, "eve", "guess")
    assert answer.status_code == 403 and not (homes / "eve").exists()
    assert session.get(f"{address}/user/ann/api/contents", timeout=300).status_code == 403
