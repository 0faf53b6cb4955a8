"""A PostgreSQL server of the tests' own; without its programs or driver tests are skipped, but never in CI."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from arbhub.processes import free_ports


@contextlib.contextmanager
def postgres_server(password: str = "") -> Iterator[str]:
    """The URL of its database, for as long as the block runs; with a password nobody gets in without it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if find_spec("psycopg") else []
    if not programs:
        assert "CI" not in os.environ, "CI must have PostgreSQL's server programs and psycopg"
        pytest.skip("PostgreSQL's server programs or psycopg are not installed")
    (port,) = free_ports(1)
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    data = Path(tempfile.mkdtemp(prefix="arbhub-postgres-"))  # pytest's own folder is root's alone
    (data / "password").write_text(f"{password}\n")
    if user:  # the server refuses to run as root, and the data must be its own
        shutil.chown(data, "nobody", "nogroup")
        shutil.chown(data / "password", "nobody", "nogroup")
    method = ["-A", "scram-sha-256", "--pwfile", str(data / "password")] if password else ["-A", "trust"]
    server = programs[-1].parent
    make = [*user, str(server / "initdb"), "-D", str(data / "db"), *method, "-U", "arbhub"]
    subprocess.run(make, check=True, capture_output=True)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [*user, str(server / "pg_ctl"), "-D", str(data / "db")]
    start = [*control, "-w", "-l", str(data / "log"), "-o", options, "start"]
    subprocess.run(start, check=True, capture_output=True)
    try:
        yield f"postgresql://arbhub{password and ':'}{password}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
        shutil.rmtree(data)
