"""The site's little server: it answers on this machine, and says plainly why it cannot."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def book(tmp_path) -> Path:
    """A copy of the server beside a site of one page."""
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("<h1>pets</h1>")
    shutil.copy(ROOT / "book" / "serve.py", tmp_path)
    return tmp_path


def test_serves_the_site_until_ctrl_c(book):
    command = [sys.executable, book / "serve.py", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.search(r"http://localhost:\d+", process.stdout.readline()).group()
        assert urlopen(address.replace("localhost", "127.0.0.1"), timeout=10).read() == b"<h1>pets</h1>"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ""


def test_taken_port_and_missing_site_are_explained(book):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, book / "serve.py", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "choose another" in done.stderr and "Traceback" not in done.stderr
    (book / "_build" / "html" / "index.html").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "not built yet" in done.stderr
