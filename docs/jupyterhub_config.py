"""JupyterHub for a class, on one machine. Tried by tests/interop/test_jupyterhub.py; three lines are for trying only.

    npm install -g configurable-http-proxy && pip install jupyterhub jupyterlab
    QCOURSE_HUB_PASSWORD=… jupyterhub -f docs/jupyterhub_config.py        → http://127.0.0.1:8000

At each login a student's folder gets what it lacks: labs/, and my_notebooks/ (the learner's edition, which follows the
course until something was written in it). What was written is never overwritten.
Kubernetes: docs/classroom.md says what becomes of each of these lines in Zero to JupyterHub.
"""

import os
import shutil
import sys
from pathlib import Path

c = get_config()  # JupyterHub defines it

COURSE = Path(os.environ.get("QCOURSE_ROOT", Path(__file__).resolve().parent.parent))
HOMES = Path(os.environ.get("QCOURSE_HOMES", "homes")).resolve()
PORT = int(os.environ.get("QCOURSE_HUB_PORT", 8000))

# For trying only: anybody who knows the one password is whoever they say (→ GitHub, LDAP, PAM, the university's OAuth),
# all servers run as the hub's own user (→ SystemdSpawner, DockerSpawner), and there is no TLS (→ a reverse proxy).
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["QCOURSE_HUB_PASSWORD"]
c.JupyterHub.spawner_class = "simple"

c.Authenticator.allow_all = True
c.JupyterHub.bind_url = f"http://127.0.0.1:{PORT}"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.JupyterHub.hub_port = int(os.environ.get("QCOURSE_HUB_API_PORT", 8081))
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{int(os.environ.get('QCOURSE_PROXY_API_PORT', 8001))}"
c.JupyterHub.db_url = f"sqlite:///{HOMES / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(HOMES / "cookie_secret")
HOMES.mkdir(parents=True, exist_ok=True)

c.SimpleLocalProcessSpawner.home_dir_template = str(HOMES / "{username}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []  # in a container
c.Spawner.default_url = "/lab/tree/labs/01_fake_quant.ipynb"
c.Spawner.environment = {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}  # many students, few cores
c.Spawner.cpu_limit, c.Spawner.mem_limit = 2, "3G"  # as far as the spawner can (systemd, Docker, Kubernetes can)
c.Spawner.start_timeout = 120


def hand_out(spawner):
    """Copy the labs into a student's folder where there are none yet, and lay the learner's edition of the notebooks."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tools.edition import lay

    home = HOMES / spawner.user.name
    for folder in ("labs", "captures"):  # notebooks replay captures from ../captures
        for source in (COURSE / folder).glob("*"):
            target = home / folder / source.name
            if source.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    lay(COURSE / "notebooks", home / "my_notebooks")


c.Spawner.pre_spawn_hook = hand_out
