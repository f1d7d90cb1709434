"""Everything that can go wrong with data on its way from a server to a tensor."""

from __future__ import annotations

import errno, gzip, hashlib, io, json, os, signal, subprocess, sys, tarfile, textwrap, threading, time, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from pets_learn import data
from pets_learn.run import BadSetting, PetsLearnError

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8))
SUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
REAL = Path(os.environ.get("PETS_LEARN_HOME", "/nowhere"))
REPOSITORY = Path(__file__).resolve().parents[1]


# --- a server with every bad habit ---------------------------------------------------------------------------------------
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server
        with site.lock:
            site.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
            number = len(site.requests)
        site.behave(self, number)

    def log_message(self, *args):
        pass

    def answer(
        self, content=None, *, ranges=True, etag='"v1"', cut=None, status=None, length=True, claim=None, pace=0.0
    ):
        """Send `content`, honoring Range and If-Range as told; `cut` closes after so many bytes of the body."""
        content = self.server.files.get(self.path, CONTENT) if content is None else content
        asked, wanted, start = self.headers.get("Range"), self.headers.get("If-Range"), 0
        if asked and ranges and (wanted is None or wanted == etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(status or (206 if start else 200))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if length:
            self.send_header("Content-Length", str(claim or len(content) - start))
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Connection", "close")
        self.end_headers()
        body = content[start:][:cut]
        for i in range(0, len(body), 8192):
            self.wfile.write(body[i : i + 8192])
            self.server.sent += len(body[i : i + 8192])
            if pace:
                time.sleep(pace)
        self.close_connection = True


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.sent, self.files, self.lock = [], 0, {}, threading.Lock()
        self.behave = lambda handler, number: handler.answer()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, client_address):
        pass  # clients that are killed on purpose


@pytest.fixture
def site():
    server = Site()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("IN_TEST", "1")  # no progress bars, no network by accident
    monkeypatch.setattr(data, "_announced", set())


@pytest.fixture
def laptop(monkeypatch, tmp_path):
    "A machine with an empty data folder at laptop scale."
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def fetch(site, path, url=None, **options):
    return data.download(url or site.url(), path, **{"checksum": SUM, "pause": 0, "timeout": 5, **options})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- home and shown ------------------------------------------------------------------------------------------------------
def test_home_is_the_variable_or_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path))
    assert data.home() == tmp_path
    monkeypatch.setenv("PETS_LEARN_HOME", "~/pets")
    assert data.home() == Path.home() / "pets"
    monkeypatch.setenv("PETS_LEARN_HOME", "  ")
    assert data.home().name == "pets_learn" and data.home().is_absolute()
    (tmp_path / "file").touch()
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path / "file"))
    with pytest.raises(BadSetting, match="a folder"):
        data.home()


def test_no_message_shows_an_absolute_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path / "deep" / "home"))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    assert data.shown(tmp_path / "deep" / "home" / "x" / "y") == "$PETS_LEARN_HOME/x/y"
    for call in (
        lambda: data.pets(download=False),
        lambda: data.pets(root=tmp_path),
        lambda: data.mnist(root=tmp_path),
        lambda: data.lfw(root=tmp_path),
        lambda: data.read_photo(tmp_path / "a.jpg"),
        lambda: data.read_pets(tmp_path),
        lambda: data.unpack(tmp_path / "a.tar", tmp_path / "b"),
    ):
        with pytest.raises(PetsLearnError) as caught:
            call()
        assert str(tmp_path) not in str(caught.value) and str(tmp_path.parent) not in str(caught.value)


def test_import_is_light():
    heavy = ("torch", "fastai", "matplotlib", "numpy", "tqdm", "torchvision")
    code = f"import sys, pets_learn.data; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# --- download ------------------------------------------------------------------------------------------------------------
def test_plain_download_and_no_second_request(site, tmp_path):
    path = fetch(site, tmp_path / "new" / "file.bin", size=len(CONTENT))
    assert path.read_bytes() == CONTENT and names(path.parent) == ["file.bin"]
    fetch(site, path)
    assert len(site.requests) == 1


def test_resumes_after_each_break_and_sends_no_byte_twice(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(cut=70_000)
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.sent == len(CONTENT) and len(site.requests) == 5
    assert site.requests[1][1:] == ("bytes=70000-", '"v1"')


def test_resumes_in_a_later_call(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(cut=100_000) if number == 1 else handler.send_error(503)
    with pytest.raises(data.DownloadFailed, match=r"100.0 kB are kept"):
        fetch(site, tmp_path / "file.bin")
    assert names(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    site.behave = lambda handler, number: handler.answer()
    site.sent = 0
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.sent == 200_000 and names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("options", [{"checksum": SUM}, {"checksum": None}])
def test_server_without_ranges_starts_again(site, tmp_path, options):
    site.behave = lambda handler, number: handler.answer(ranges=False, cut=100_000 if number == 1 else None)
    assert fetch(site, tmp_path / "file.bin", **options).read_bytes() == CONTENT


def test_server_without_ranges_that_always_breaks_is_given_up(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(ranges=False, cut=100_000)
    with pytest.raises(data.DownloadFailed, match="connection ended"):
        fetch(site, tmp_path / "file.bin")
    assert len(site.requests) == 4


@pytest.mark.parametrize("checked", [True, False])
def test_file_that_changes_between_two_attempts(site, tmp_path, checked):
    new = CONTENT[::-1]
    site.behave = lambda h, number: h.answer(cut=100_000) if number == 1 else h.answer(new, etag='"v2"')
    options = {"checksum": "sha256:" + hashlib.sha256(new).hexdigest() if checked else None}
    assert fetch(site, tmp_path / "file.bin", **options).read_bytes() == new


def test_changed_file_behind_a_server_that_ignores_if_range(site, tmp_path):
    "The joined file fails its checksum and is fetched once more from nothing."
    new = CONTENT[::-1]
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100_000])
    site.behave = lambda handler, number: handler.answer(new, etag=None)
    assert fetch(site, tmp_path / "file.bin", checksum="sha256:" + hashlib.sha256(new).hexdigest()).read_bytes() == new
    assert [request[1] for request in site.requests] == ["bytes=100000-", None]


def test_without_version_and_checksum_a_part_is_not_trusted(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 100_000)
    site.behave = lambda handler, number: handler.answer(etag=None)
    assert fetch(site, tmp_path / "file.bin", checksum=None).read_bytes() == CONTENT
    assert site.requests[0][1] is None


def test_weak_etags_do_not_join_bytes(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(etag='W/"v1"', cut=100_000 if number == 1 else None)
    assert fetch(site, tmp_path / "file.bin", checksum=None).read_bytes() == CONTENT
    assert site.requests[1][1] is None


def test_a_login_page_does_not_cost_the_part(site, tmp_path):
    "All that came before is kept when another answer comes in its place, and the next call goes on."
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100_000])
    site.behave = lambda handler, number: handler.answer(b"<html>please log in</html>", ranges=False)
    with pytest.raises(data.ChecksumMismatch, match=r"100.0 kB are kept"):
        fetch(site, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000] and len(site.requests) == 1
    site.behave = lambda handler, number: handler.answer()
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT and names(tmp_path) == ["file.bin"]
    assert site.requests[-1][1] == "bytes=100000-"


def test_a_shorter_second_try_does_not_cost_the_part(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100_000])
    site.behave = lambda handler, number: handler.answer(ranges=False, cut=5000)
    with pytest.raises(data.DownloadFailed, match=r"100.0 kB are kept"):
        fetch(site, tmp_path / "file.bin")
    assert names(tmp_path) == ["file.bin.part"] and (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000]


def test_wrong_length_keeps_the_part_and_says_so(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100_000])
    site.behave = lambda handler, number: handler.answer(b"x" * 50, ranges=False)
    with pytest.raises(data.ChecksumMismatch, match=r"50 bytes instead of 300,000.*100.0 kB are kept"):
        fetch(site, tmp_path / "file.bin", size=len(CONTENT))
    assert (tmp_path / "file.bin.part").stat().st_size == 100_000


def test_part_longer_than_the_file(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 400_000)
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT


def test_whole_part_that_was_never_verified(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(site, tmp_path / "file.bin", size=len(CONTENT)).read_bytes() == CONTENT and not site.requests


def test_damaged_note_is_ignored(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.bin.part.json").write_text("{not json")
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT


def test_damaged_part_is_noticed(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [{"checksum": "md5:" + "0" * 32}, {"size": 299_999}, {"checksum": SUM, "size": 1}])
def test_wrong_file_leaves_nothing(site, tmp_path, wrong):
    with pytest.raises(data.ChecksumMismatch, match="instead of"):
        fetch(site, tmp_path / "file.bin", **wrong)
    assert names(tmp_path) == []


def test_wrong_size_is_noticed_before_the_body(site, tmp_path):
    with pytest.raises(data.ChecksumMismatch):
        fetch(site, tmp_path / "file.bin", size=5)
    assert names(tmp_path) == []


def test_server_that_sends_less_or_more_than_announced(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(CONTENT[:1000], claim=len(CONTENT), ranges=False)
    with pytest.raises(data.DownloadFailed, match="connection ended"):
        fetch(site, tmp_path / "file.bin")


def test_unknown_length(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(length=False)
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT


def test_unknown_length_that_never_ends_is_bounded_by_the_size(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(CONTENT * 20, length=False, etag=None)
    with pytest.raises(PetsLearnError):
        fetch(site, tmp_path / "file.bin", size=len(CONTENT))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= len(CONTENT) + 1000


def test_mirrors_in_turn(site, tmp_path):
    def behave(handler, number):
        if handler.path == "/gone":
            handler.send_error(404)
        elif handler.path == "/login":
            handler.answer(b"<html>please log in</html>")
        else:
            handler.answer()

    site.behave = behave
    urls = ["http://127.0.0.1:9/x", site.url("gone"), site.url("login"), site.url("good")]
    assert fetch(site, tmp_path / "file.bin", urls).read_bytes() == CONTENT
    assert [request[0] for request in site.requests] == ["/gone", "/login", "/good"]


def test_a_part_continues_at_another_mirror_when_a_checksum_decides(site, tmp_path):
    site.behave = lambda h, number: (
        h.answer(cut=100_000) if number == 1 else h.send_error(404) if h.path == "/a" else h.answer(etag='"b"')
    )
    assert fetch(site, tmp_path / "file.bin", [site.url("a"), site.url("b")]).read_bytes() == CONTENT
    assert site.requests[-1] == ("/b", "bytes=100000-", None)


def test_busy_server_is_asked_again_and_a_clear_no_is_not(site, tmp_path):
    site.behave = lambda handler, number: handler.send_error(503) if number < 3 else handler.answer()
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT
    site.requests.clear()
    site.behave = lambda handler, number: handler.send_error(403)
    with pytest.raises(data.DownloadFailed, match="403"):
        fetch(site, tmp_path / "other.bin")
    assert len(site.requests) == 1 and names(tmp_path) == ["file.bin"]


def test_no_network(tmp_path):
    with pytest.raises(data.DownloadFailed, match="is there a network"):
        data.download("https://pets.invalid/x", tmp_path / "x", pause=0)
    with pytest.raises(data.DownloadFailed, match="Check the network"):
        data.download("http://127.0.0.1:9/x", tmp_path / "x", pause=0)
    assert names(tmp_path) == []


def test_silent_server_counts_as_dead(site, tmp_path):
    site.behave = lambda handler, number: time.sleep(1)
    with pytest.raises(data.DownloadFailed, match="in time"):
        fetch(site, tmp_path / "x", timeout=0.1)


def test_redirect_to_a_local_file_is_refused(site, tmp_path):
    def behave(handler, number):
        handler.send_response(302)
        handler.send_header("Location", "file:///etc/passwd")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.behave = behave
    with pytest.raises(data.DownloadFailed):
        fetch(site, tmp_path / "x", checksum=None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("urls", [[], "ftp://x/y", "file:///etc/passwd", ["https://ok/x", "x"]])
def test_bad_addresses(urls, tmp_path):
    with pytest.raises(BadSetting, match="https://"):
        data.download(urls, tmp_path / "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full(site, tmp_path):
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(PetsLearnError, match=r"disk is full.*Free some space"):
        fetch(site, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_disk_that_fills_up_keeps_what_arrived(site, tmp_path):
    "A real limit of the operating system (RLIMIT_FSIZE) in a process of its own."
    code = f"""
    import resource, signal
    from pets_learn import data
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try: data.download({site.url()!r}, {str(tmp_path / "file.bin")!r}, checksum={SUM!r}, pause=0)
    except data.PetsLearnError as error: print("said:", error)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout
    assert "What arrived is kept" in said and (tmp_path / "file.bin.part").stat().st_size == 100_000
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT and site.requests[-1][1] == "bytes=100000-"


def test_too_little_room_is_noticed_before_the_body(site, tmp_path, monkeypatch):
    monkeypatch.setattr(data.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(PetsLearnError, match=r"only 1.0 kB are free"):
        fetch(site, tmp_path / "file.bin")
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written(site, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PetsLearnError, match="Choose a folder"):
        fetch(site, tmp_path / "file.bin")


def test_target_below_a_file(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PetsLearnError, match="Choose a folder"):
        fetch(site, tmp_path / "file" / "x.bin")


def python(code, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **variables},
        cwd=REPOSITORY,
    )


def test_two_processes_fetch_once(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(pace=0.01)
    path = str(tmp_path / "file.bin")
    code = f"from pets_learn import data; print(data.download({site.url()!r}, {path!r}, checksum={SUM!r}).name)"
    both = [python(code) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["file.bin"] * 2
    assert (
        len(site.requests) == 1 and (tmp_path / "file.bin").read_bytes() == CONTENT and names(tmp_path) == ["file.bin"]
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_download_does_not_block_the_next_and_is_resumed(site, tmp_path):
    site.behave = lambda handler, number: handler.answer(pace=0.05 if number == 1 else 0)
    process = python(
        f"from pets_learn import data; data.download({site.url()!r}, {str(tmp_path / 'file.bin')!r}, checksum={SUM!r})"
    )
    part, deadline = tmp_path / "file.bin.part", time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 20_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "file.bin").exists()
    assert fetch(site, tmp_path / "file.bin").read_bytes() == CONTENT
    assert int(site.requests[-1][1].removeprefix("bytes=").rstrip("-")) > 20_000
    assert names(tmp_path) == ["file.bin"]


def test_windows_lock_waits_as_long_as_it_takes(tmp_path, monkeypatch):
    import types

    tries = []

    def locking(number, mode, count):
        tries.append(mode)
        if len(tries) < 30:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(data.time, "sleep", lambda seconds: None)
    with (tmp_path / "x").open("ab") as file:
        monkeypatch.setattr(data.sys, "platform", "win32")
        data._lock(file)
        monkeypatch.undo()
    assert tries == [2] * 30


def test_a_lock_that_fails_is_no_lock(tmp_path, monkeypatch):
    def fail(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(data, "_lock", fail)
    with pytest.raises(PetsLearnError, match="No locks available"), data.only_one(tmp_path / "x"):
        pytest.fail("nobody may enter without the lock")


# --- archives ------------------------------------------------------------------------------------------------------------
def tar_bytes(members, mode="w:gz", format=tarfile.PAX_FORMAT):
    "`members`: (name, content) pairs or ready TarInfo objects."
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(b"") if member.isreg() else None)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def zip_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(folder, content, error=data.UnsafeArchive, match=None, **limits):
    "Unpacking must raise, and nothing may appear, in the folder or around it."
    room = folder / "room"
    room.mkdir()
    (room / "a.archive").write_bytes(content)
    with pytest.raises(error, match=match):
        data.unpack(room / "a.archive", room / "out", **limits)
    assert names(room) == ["a.archive"] and names(folder) == ["room"]


GOOD = [("images/a.jpg", b"aaa"), ("images/b/c.jpg", b"c" * 2000), ("README", b"")]


@pytest.mark.parametrize(
    "make", [tar_bytes, lambda m: tar_bytes(m, "w"), zip_bytes, lambda m: tar_bytes(m, format=tarfile.GNU_FORMAT)]
)
def test_good_archives(tmp_path, make):
    (tmp_path / "a").write_bytes(make(GOOD))
    out = data.unpack(tmp_path / "a", tmp_path / "out")
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == dict(GOOD)
    inner = data.unpack(tmp_path / "a", tmp_path / "inner", inside="images")
    assert sorted(p.relative_to(inner).as_posix() for p in inner.rglob("*")) == ["a.jpg", "b", "b/c.jpg"]
    assert names(tmp_path) == ["a", "inner", "out"]


BAD_NAMES = [
    "../x",
    "a/../../x",
    "/etc/x",
    "//x",
    "..",
    "a/..",
    "C:/x",
    "C:x",
    "a\\b",
    "..\\x",
    "\\\\server\\x",
    "con",
    "a/NUL.txt",
    "com1",
    "a\nb",
    "a ",
    "a.",
    "a/ /b",
    "a\x7f",
    "x" * 300,
    "/".join("a" * 40),
    "a:stream",
    "a//b",
    "a?",
    "\u202egpj.exe",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_bad_names(tmp_path, make, name):
    refused(tmp_path, make([("good.jpg", b"good"), (name, b"evil")]), (data.UnsafeArchive, data.DamagedData))


@pytest.mark.parametrize(
    "member",
    [
        special("images/link", tarfile.SYMTYPE, "/etc"),
        special("images/link", tarfile.SYMTYPE, "a.jpg"),
        special("images/hard", tarfile.LNKTYPE, "images/a.jpg"),
        special("fifo", tarfile.FIFOTYPE),
        special("char", tarfile.CHRTYPE),
        special("block", tarfile.BLKTYPE),
    ],
    ids=lambda m: m.name + m.linkname,
)
def test_links_and_devices(tmp_path, member):
    refused(tmp_path, tar_bytes([*GOOD, member]), match="a link, a device")


def test_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    refused(tmp_path, zip_bytes([("a", b"a"), (info, b"/etc")]), match="link")


def test_encrypted_zip(tmp_path):
    content = bytearray(zip_bytes([("a", b"a")]))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.find(mark) + (6 if mark[2] == 3 else 8)] |= 1
    refused(tmp_path, bytes(content), match="encrypted")


def test_same_name_twice(tmp_path):
    refused(tmp_path, tar_bytes([("a.jpg", b"1"), ("a.jpg", b"2")]), match="two members")


def test_file_that_is_also_a_folder(tmp_path):
    refused(tmp_path, tar_bytes([("a", b"1"), ("a/b", b"2")]), match="two members")


def test_limits(tmp_path):
    for number, (limit, match) in enumerate(
        [({"max_files": 2}, "3 members"), ({"max_bytes": 2000}, "beyond the limit")]
    ):
        (folder := tmp_path / str(number)).mkdir()
        refused(folder, tar_bytes(GOOD), match=match, **limit)


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_bomb(tmp_path, make):
    refused(tmp_path, make([("zeros", bytes(30 << 20))]), match="would grow to")


def test_tar_that_claims_a_terabyte(tmp_path):
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    refused(tmp_path, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)), match="beyond the limit")


def test_header_that_claims_a_gigabyte(tmp_path):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    refused(tmp_path, gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)), match="more than 4,096 bytes")


def pax_block(records, kind=tarfile.XHDTYPE):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = kind, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


def pax_record(name, value):
    body = f" {name}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def old_sparse(entries):
    "A GNU sparse member as GNU tar wrote it before 2004: four entries in the header, then more in blocks of 21."
    info = tarfile.TarInfo("sparse.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482], block[483:495] = 1, b"%011o\0" % (1 << 40)
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    more = (b"%011o\0" % 512 * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    return bytes(block) + more * entries


HEAD = tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT)
BOMBS = {
    "old sparse": old_sparse(20_000),
    "sparse 0.0": pax_block(pax_record("GNU.sparse.size", 1 << 40)) + HEAD,
    "sparse 0.1": pax_block(pax_record("GNU.sparse.map", "0,1,2,3")) + HEAD,
    "sparse 1.0": pax_block(pax_record("GNU.sparse.major", 1) + pax_record("GNU.sparse.minor", 0)) + HEAD + b"9" * 512 * 2000,
    "sparse for all": pax_block(pax_record("GNU.sparse.size", 1 << 40), tarfile.XGLTYPE) + HEAD,
    "1 MB a header": b"".join(pax_block(pax_record("comment", "x" * (1 << 20))) + HEAD for _ in range(30)),
    "4 kB a header": b"".join(
        pax_block(pax_record("comment", "x" * 4000)) + tarfile.TarInfo(f"{n}").tobuf(tarfile.GNU_FORMAT) for n in range(6000)
    ),
    "digits": pax_block(b"1" * 4000) + HEAD,
    "many digits": pax_block(b"1" * 1_000_000) + HEAD,
    "global name": pax_block(pax_record("path", "x.jpg"), tarfile.XGLTYPE) + HEAD,
    "backwards": pax_block(pax_record("size", -10240)) + HEAD,
    "huge number": pax_block(pax_record("size", "9" * 4000)) + HEAD,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_tar_headers_that_are_bombs(tmp_path, kind):
    "Refused at once, and without the memory that they ask for."
    import tracemalloc

    content = gzip.compress(BOMBS[kind] + bytes(1024), 9)
    tracemalloc.start()
    begin = time.process_time()
    try:
        refused(tmp_path, content, (data.UnsafeArchive, data.DamagedData))
        used, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 10 and peak < 10e6


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path, format):
    long = "/".join(["folder" * 20] * 3) + "/äöü_1.jpg"
    (tmp_path / "a").write_bytes(tar_bytes([(long, b"x" * 700), ("b.jpg", b"y")], format=format))
    out = data.unpack(tmp_path / "a", tmp_path / "out")
    assert (out / long).read_bytes() == b"x" * 700 and (out / "b.jpg").read_bytes() == b"y"


def test_harmless_global_header(tmp_path):
    "`git archive` writes its commit there."
    content = pax_block(pax_record("comment", "0123abcd"), tarfile.XGLTYPE) + tar_bytes(GOOD, "w")
    (tmp_path / "a").write_bytes(content)
    assert names(data.unpack(tmp_path / "a", tmp_path / "out")) == ["README", "images"]


@pytest.mark.parametrize("error", [IndexError, KeyError])
def test_whatever_a_reader_raises_is_damage(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error("boom")

    monkeypatch.setattr(data.tarfile.TarInfo, "frombuf", fail)
    refused(tmp_path, tar_bytes(GOOD), data.DamagedData, "download it again")


def test_headers_nested_without_end(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.GNU_FORMAT) + b"x\0".ljust(512, b"\0")
    refused(tmp_path, gzip.compress(block * 5000), (data.DamagedData, data.UnsafeArchive))


def test_endless_padding(tmp_path):
    refused(tmp_path, gzip.compress(tar_bytes(GOOD, "w") + bytes(100 << 20)), match="after its end")


@pytest.mark.parametrize("make", [tar_bytes, lambda m: tar_bytes(m, "w"), zip_bytes])
def test_truncated_anywhere(tmp_path, make):
    content, source = make(GOOD), tmp_path / "a"
    last = len(content) - (0 if content[:2] in (b"\x1f\x8b", b"PK") else 10240 - 4096)  # a plain tar ends in padding
    for cut in range(0, last - 1024 if content[:1] == b"i" else last, 13):
        source.write_bytes(content[:cut])
        with pytest.raises(data.DamagedData, match="Delete it and download it again"):
            data.unpack(source, tmp_path / "out")
        assert names(tmp_path) == ["a"]


def test_damaged_header_in_the_middle_is_no_end(tmp_path):
    content = bytearray(tar_bytes(GOOD, "w"))
    content[1024] ^= 0xFF
    refused(tmp_path, bytes(content), data.DamagedData)


def test_no_archive_at_all(tmp_path):
    refused(tmp_path, b"<html>please log in</html>", data.DamagedData, r"no tar, tar.gz or zip")
    with pytest.raises(data.MissingData):
        data.unpack(tmp_path / "absent.tar", tmp_path / "out")


def test_folder_inside_that_is_not_there(tmp_path):
    refused(tmp_path, tar_bytes(GOOD), data.DamagedData, "holds nothing in 'photos'", inside="photos")


def test_existing_folder(tmp_path):
    (tmp_path / "a").write_bytes(tar_bytes(GOOD))
    (tmp_path / "empty").mkdir()
    assert names(data.unpack(tmp_path / "a", tmp_path / "empty")) == ["README", "images"]
    with pytest.raises(BadSetting, match="content already"):
        data.unpack(tmp_path / "a", tmp_path / "empty")


def test_disk_full_while_unpacking(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data.shutil, "copyfileobj", full)
    refused(tmp_path, tar_bytes(GOOD), PetsLearnError, "disk is full")


def test_no_set_user_id_bits(tmp_path):
    info = tarfile.TarInfo("tool")
    info.mode = 0o6777
    (tmp_path / "a").write_bytes(tar_bytes([info]))
    assert (data.unpack(tmp_path / "a", tmp_path / "out") / "tool").stat().st_mode & 0o7111 == 0


def test_two_processes_unpack_once(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").write_bytes(tar_bytes([(f"images/{n}.jpg", rng.bytes(20_000)) for n in range(300)]))
    code = f"""
    from pets_learn import data
    from pathlib import Path
    try: print(len(list(data.unpack({str(tmp_path / "a")!r}, {str(tmp_path / "out")!r}, inside="images").iterdir())))
    except data.BadSetting: print(len(list(Path({str(tmp_path / "out")!r}).iterdir())))  # it came later, and saw the whole folder
    """
    assert [process.communicate()[0].strip() for process in [python(code) for _ in range(3)]] == ["300"] * 3
    assert names(tmp_path) == ["a", "out"]


part = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "images", "~", "con", "C:", "..\\", "\x00", "a.", "%2e%2e"]),
    st.text(max_size=6),
)
member_names = st.builds(
    lambda parts, lead: lead + "/".join(parts),
    st.lists(part, min_size=1, max_size=5),
    st.sampled_from(["", "/", "./", "../"]),
)


@given(name=member_names)
@settings(max_examples=500, deadline=None)
def test_a_path_that_is_let_through_stays_inside(name):
    try:
        path = data.member_path(name)
    except data.UnsafeArchive:
        return
    assert os.path.normpath(f"/base/folder/{path}").startswith("/base/folder")
    assert not path.is_absolute() and ".." not in path.parts and "\\" not in str(path) and "\0" not in str(path)
    assert data.member_path(str(path)) == path if path.parts else True


@given(members=st.lists(member_names, min_size=1, max_size=4), zipped=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_archive_writes_outside(tmp_path_factory, members, zipped):
    room = tmp_path_factory.mktemp("room")
    try:
        content = (zip_bytes if zipped else tar_bytes)([(name, b"x") for name in members])
    except (ValueError, IndexError):
        return  # names that cannot even be packed
    (room / "a").write_bytes(content)
    try:
        data.unpack(room / "a", room / "inner" / "out")
    except PetsLearnError:
        assert not (room / "inner" / "out").exists()
    assert set(names(room)) <= {"a", "inner"} and set(names(room / "inner") if (room / "inner").exists() else []) <= {
        "out"
    }


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), kind=st.sampled_from(["gz", "tar", "zip"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_gives_all_or_nothing(tmp_path_factory, place, flip, kind):
    room = tmp_path_factory.mktemp("flip")
    content = bytearray({"gz": tar_bytes(GOOD), "tar": tar_bytes(GOOD, "w"), "zip": zip_bytes(GOOD)}[kind])
    content[place % len(content)] ^= flip
    (room / "a").write_bytes(content)
    try:
        data.unpack(room / "a", room / "out")
    except PetsLearnError:
        assert names(room) == ["a"]
    else:
        assert len([path for path in (room / "out").rglob("*") if path.is_file()]) == 3


# --- photos --------------------------------------------------------------------------------------------------------------
def photo_bytes(kind="JPEG", mode="RGB", size=(40, 30), **options):
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo(tmp_path):
    def write(content, name="cat.jpg"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "kind, mode",
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("PNG", "I;16"),
        ("GIF", "P"),
        ("GIF", "L"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
    ],
)
def test_odd_photos_are_read(photo, kind, mode):
    if mode == "I;16":
        buffer = io.BytesIO()
        values = np.asarray(Image.radial_gradient("L").resize((40, 30))).astype(np.uint16) * 257
        Image.fromarray(values).save(buffer, "PNG")
        path = photo(buffer.getvalue())
    else:
        path = photo(photo_bytes(kind, mode))
    image = data.read_photo(path)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    if mode != "1":
        expected = np.asarray(Image.radial_gradient("L").resize((40, 30)), dtype=float)
        assert np.abs(np.asarray(image.convert("L"), dtype=float) - expected).mean() < 6


def test_transparency_lies_on_white(photo):
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    assert data.read_photo(photo(buffer.getvalue())).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(photo, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert data.read_photo(photo(photo_bytes(exif=exif))).size == ((40, 30) if orientation < 5 else (30, 40))


def test_broken_exif_is_no_reason_to_lose_a_photo(photo):
    assert data.read_photo(photo(photo_bytes(exif=b"Exif\0\0MM\0*garbage"))).size == (40, 30)


def bombs():
    import struct, zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"")
    )
    gif = (
        b"GIF89a"
        + struct.pack("<HHBBB", 20_000, 20_000, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 0)
        + b"\x08\0;"
    )
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0)
    jpeg = bytearray(photo_bytes())
    start = jpeg.find(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 20_000, 20_000)
    medium = bytearray(photo_bytes())
    medium[start + 5 : start + 9] = struct.pack(">HH", 10_000, 15_000)
    return {"png": png, "gif": gif, "bmp": bmp, "jpeg": bytes(jpeg), "10,000 x 15,000": bytes(medium)}


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "jpeg", "10,000 x 15,000"])
def test_bombs_are_refused_before_decoding(photo, kind, monkeypatch):
    def load(self):
        raise AssertionError("it was decoded")

    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(data.BadPhoto, match=r"cat.jpg.*pixels.*not decoded"):
        data.read_photo(photo(bombs()[kind]))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"I am a cat", "not a JPEG"),
        (photo_bytes()[:400], "cut short"),
        (photo_bytes("PNG")[:200], "cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a JPEG"),
        (photo_bytes("TIFF"), "not a JPEG"),
        (bytes(1000), "not a JPEG"),
    ],
)
def test_bad_photos(photo, content, reason):
    with pytest.raises(data.BadPhoto, match=f"cat.jpg cannot be used as a photo: .*{reason}"):
        data.read_photo(photo(content))


def test_limit_is_ours_and_pillow_is_silent(photo, monkeypatch, recwarn):
    "100 megapixels pass, 150 do not; Pillow would warn at both."
    import struct

    content = bytearray(photo_bytes())
    start = content.find(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", 10_000, 10_000)
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: None)
    monkeypatch.setattr(data, "_to_rgb", lambda image: image)
    monkeypatch.setattr(data, "_upright", lambda image: image)
    assert data.read_photo(photo(bytes(content))).size == (10_000, 10_000)
    with pytest.raises(data.BadPhoto, match=r"15,000 x 10,000 pixels, more than the limit of 120,000,000"):
        data.read_photo(photo(bombs()["10,000 x 15,000"]))
    assert not recwarn.list


def test_absent_photo_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, words in (("pipe.jpg", "no such file"), ("folder.jpg", "it is a folder"), ("absent.jpg", "no such file")):
        with pytest.raises(data.BadPhoto, match=words):
            data.read_photo(tmp_path / name)
        with pytest.raises(data.BadPhoto, match=words):
            data.decode_photo(tmp_path / name, 32)


def test_one_pixel_and_limits(photo):
    path = photo(photo_bytes(size=(1, 1)))
    assert data.read_photo(path).size == (1, 1)
    with pytest.raises(data.BadPhoto, match="at least 16"):
        data.read_photo(path, min_side=16)
    with pytest.raises(data.BadPhoto, match="40 x 30 pixels, more than the limit of 1,000"):
        data.read_photo(photo(photo_bytes()), max_pixels=1000)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_stays_open(photo):
    paths = [
        photo(photo_bytes(), "a.jpg"),
        photo(b"text", "b.jpg"),
        photo(photo_bytes()[:300], "c.jpg"),
        photo(bombs()["png"], "d.jpg"),
    ]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        data.check_photos(paths)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(
    cut=st.integers(0, 900),
    places=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=4),
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_photos_give_a_photo_or_bad_photo(tmp_path_factory, cut, places, kind):
    content = bytearray(photo_bytes(kind))
    for place, value in places:
        content[place % len(content)] = value
    path = tmp_path_factory.mktemp("photo") / "x.jpg"
    path.write_bytes(content[: len(content) - cut % len(content)])
    try:
        image = data.read_photo(path)
    except data.BadPhoto as error:
        assert "x.jpg" in str(error)
    else:
        assert image.mode == "RGB"


def test_check_photos_keeps_the_order(photo, tmp_path):
    paths = [photo(photo_bytes() if number % 3 else b"text", f"{number:02}.jpg") for number in range(20)]
    good, skipped = data.check_photos(paths, workers=4)
    assert good == [path for number, path in enumerate(paths) if number % 3]
    assert [path for path, _ in skipped] == paths[::3] and all("not a JPEG" in reason for _, reason in skipped)


# --- the pets folder -----------------------------------------------------------------------------------------------------
def make_copy(folder, stems=("Bengal_1", "Bengal_2", "pug_1", "pug_2"), lists=True):
    (folder / "images").mkdir(parents=True)
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    (folder / "annotations" / "xmls").mkdir()
    for stem in stems:
        (folder / "images" / f"{stem}.jpg").write_bytes(photo_bytes())
        Image.new("L", (40, 30), 2).save(folder / "annotations" / "trimaps" / f"{stem}.png")
    if lists:

        def line(stem):
            return f"{stem} 1 {1 if stem[0].isupper() else 2} 1\n"

        (folder / "annotations" / "trainval.txt").write_text("".join(map(line, stems[::2])))
        (folder / "annotations" / "test.txt").write_text("".join(map(line, stems[1::2])))
    return folder


def test_folder_above_or_folder_itself(laptop, monkeypatch):
    make_copy(laptop / "oxford-iiit-pet")
    above = data.pets(download=False)
    monkeypatch.setenv("PETS_LEARN_HOME", str(laptop / "oxford-iiit-pet"))
    itself = data.pets(download=False)
    assert (
        above == itself
        and len(above.photos) == 4
        and above.lists == {"trainval": ["Bengal_1", "pug_1"], "test": ["Bengal_2", "pug_2"]}
    )
    assert not above.complete and not above.generated and above.unlisted == [] and "partial" in above.describe()


def test_root_given_wins_and_is_never_left_in_silence(laptop, tmp_path):
    make_copy(laptop / "oxford-iiit-pet")
    make_copy(tmp_path / "mine", stems=("pug_9",))
    assert [path.name for path in data.pets(root=tmp_path / "mine").photos] == ["pug_9.jpg"]
    with pytest.raises(data.MissingData):
        data.pets(root=tmp_path / "absent")


@pytest.mark.parametrize("state", ["absent", "empty", "no images", "empty images", "only other files"])
def test_missing_pets(laptop, state):
    folder = laptop / "oxford-iiit-pet"
    if state != "absent":
        folder.mkdir(parents=True)
    if state in ("empty images", "only other files"):
        (folder / "images").mkdir()
    if "other" in state:
        (folder / "images" / "cat.txt").touch()
    with pytest.raises(data.MissingData) as caught:
        data.pets(download=False)
    for words in ("Three ways", "set PETS_LEARN_HOME", "$PETS_LEARN_HOME/oxford-iiit-pet", "download", "811 MB"):
        assert words in str(caught.value)


def test_quirks_among_the_photos(tmp_path):
    folder = make_copy(tmp_path / "pets")
    for name in ("pug_1.mat", "Thumbs.db", "._pug_1.jpg", "pug_3.jpg", "cat.jpg"):
        (folder / "images" / name).touch()
    (folder / "images" / "pug_4.jpg").mkdir()
    (folder / "images" / "pug_2.JPEG").write_bytes(photo_bytes())
    (folder / "images" / "pug_5.jpg").write_bytes(b"I am a dog")
    (folder / "images" / "pug_6.jpg").write_bytes(photo_bytes()[:300])
    (folder / "images" / "pug_7.jpg").symlink_to("nowhere.jpg")
    found = data.read_pets(folder)
    reasons = {path.name: reason for path, reason in found.skipped}
    assert set(reasons) == {
        "pug_1.mat",
        "Thumbs.db",
        "._pug_1.jpg",
        "pug_3.jpg",
        "cat.jpg",
        "pug_4.jpg",
        "pug_2.jpg",
        "pug_7.jpg",
    }
    assert "MATLAB" in reasons["pug_1.mat"] and "0 bytes" in reasons["pug_3.jpg"] and "hidden" in reasons["._pug_1.jpg"]
    checked = found.checked()
    assert len(found.photos) - len(checked.photos) == 2
    assert {path.name for path, _ in checked.skipped} - set(reasons) == {"pug_5.jpg", "pug_6.jpg"}
    assert checked.describe()


def test_checked_takes_unreadable_photos_out_of_the_lists(tmp_path):
    folder = make_copy(tmp_path / "pets")
    (folder / "images" / "pug_1.jpg").write_bytes(b"text")
    assert data.read_pets(folder).lists["trainval"] == ["Bengal_1", "pug_1"]
    checked = data.read_pets(folder).checked()
    assert checked.lists == {"trainval": ["Bengal_1"], "test": ["Bengal_2", "pug_2"]}
    assert checked.missing == {"trainval": 1, "test": 0} and "1 more are not here" in checked.describe()


@pytest.mark.parametrize(
    "text, stems, problem",
    [
        ("Bengal_1 1 1 1\nBengal_1 1 1 1\n", ["Bengal_1"], "listed twice"),
        ("Bengal_1\n", [], "not 'stem class"),
        ("Bengal_1 one 1 1\n", [], "not 'stem class"),
        ("unicorn_1 1 2 1\n", [], None),
        ("", [], None),
        ("# only a comment\n", [], None),
        ("Bengal_1 1 2 1\n", ["Bengal_1"], "other species"),
        ("../../etc/passwd 1 2 1\n", [], None),
        ("\xff\xfe\x00", [], "not 'stem class"),
        ("\ufeffBengal_1 1 1 1", [], None),
        ("Bengal_1 1 1 1\r\npug_1 1 2 1\r\n", ["Bengal_1", "pug_1"], None),
    ],
)
def test_wrong_lists_are_reported(tmp_path, text, stems, problem):
    folder = make_copy(tmp_path / "pets")
    (folder / "annotations" / "trainval.txt").write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    found = data.read_pets(folder)
    assert found.lists["trainval"] == stems or (text.startswith("\ufeff") and found.lists["trainval"] == ["Bengal_1"])
    assert problem is None or any(problem in line for line in found.problems)


def test_unknown_stems_are_counted(tmp_path):
    folder = make_copy(tmp_path / "pets")
    (folder / "annotations" / "test.txt").write_text("unicorn_1 1 2 1\npug_2 1 2 1\nunicorn_2 1 2 1\n")
    found = data.read_pets(folder)
    assert found.missing == {"trainval": 0, "test": 2} and "2 more are not here" in found.describe()


def test_lists_that_are_binary_huge_or_absent(tmp_path):
    folder = make_copy(tmp_path / "pets", lists=False)
    found = data.read_pets(folder)
    assert (
        found.lists == {"trainval": [], "test": []}
        and found.missing == {"trainval": 0, "test": 0}
        and len(found.unlisted) == 4
        and found.problems == ["trainval.txt is not here", "test.txt is not here"]
    )
    (folder / "annotations" / "test.txt").write_bytes(np.random.default_rng(0).bytes(50_000))
    assert data.read_pets(folder).lists == {"trainval": [], "test": []}
    with (folder / "annotations" / "test.txt").open("wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(data.DamagedData, match="10 MB"):
        data.read_pets(folder)


def test_no_photo_is_in_both_lists(tmp_path):
    folder = make_copy(tmp_path / "pets")
    text = (folder / "annotations" / "trainval.txt").read_text()
    (folder / "annotations" / "test.txt").write_text(text)
    found = data.read_pets(folder)
    assert found.lists == {"trainval": [], "test": ["Bengal_1", "pug_1"]} and "both lists" in found.problems[-1]


XML = "<annotation><object><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object></annotation>"


def test_head_boxes_from_xml_and_table(tmp_path):
    folder = make_copy(tmp_path / "pets")
    xmls = folder / "annotations" / "xmls"
    (xmls / "pug_1.xml").write_text(XML.format(1, 8))
    assert data.read_pets(folder).head_box("pug_1") == (1, 2, 8, 9) and data.read_pets(folder).head_box("pug_2") is None
    (folder / "annotations" / "head-boxes.csv").write_text(
        "image,width,height,xmin,ymin,xmax,ymax\npug_1,40,30,1,1,5,5\npug_1,40,30,1,1,20,20\n"
        "pug_2,40,30,9,9,1,1\npug_2\n"
    )
    found = data.read_pets(folder)
    assert found.head_box("pug_1") == (1, 1, 20, 20) and len(found.problems) == 2
    assert found.trimap("pug_1").is_file() and found.trimap("../pug_1") is None and found.head_box("../../x") is None


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<annotation>",
        XML.format("a", "b"),
        XML.format(9, 1),
        XML.format("nan", "inf"),
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        "<x>" * 5000,
        f"<!doctype x>{XML.format(1, 8)}",
        XML.format(1, 8) + "\0",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32"])
def test_bad_xml_is_a_warning(tmp_path, xml, encoding):
    folder = make_copy(tmp_path / "pets")
    (folder / "annotations" / "xmls" / "pug_1.xml").write_bytes(xml.encode(encoding))
    with pytest.warns(UserWarning, match=r"pug_1.xml has no usable head box"):
        assert data.read_pets(folder).head_box("pug_1") is None


def serve_pets(site, monkeypatch, folder):
    "Put a small pets data set on the server, and its addresses and sums where the real ones are."
    make_copy(folder)
    for name in ("images", "annotations"):
        content = tar_bytes(
            [
                (p.relative_to(folder).as_posix(), p.read_bytes())
                for p in sorted((folder / name).rglob("*"))
                if p.is_file()
            ]
        )
        site.files[f"/{name}.tar.gz"] = content
        file = data.RemoteFile(
            f"{name}.tar.gz",
            (site.url(f"{name}.tar.gz"),),
            len(content),
            "sha256:" + hashlib.sha256(content).hexdigest(),
        )
        monkeypatch.setitem(data.PETS_ARCHIVES, name, file)
    content = tar_bytes(
        [
            ("oxford-iiit-pet/" + p.relative_to(folder).as_posix(), p.read_bytes())
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        ]
    )
    site.files["/bundle.tgz"] = content
    bundle = data.RemoteFile(
        "bundle.tgz", (site.url("bundle.tgz"),), len(content), "md5:" + hashlib.md5(content).hexdigest()
    )
    monkeypatch.setattr(data, "PETS_BUNDLE", bundle)


def test_pets_are_downloaded_and_unpacked(site, laptop, tmp_path, monkeypatch):
    serve_pets(site, monkeypatch, tmp_path / "source")
    found = data.pets()
    assert len(found.photos) == 4 and found.lists["test"] == ["Bengal_2", "pug_2"] and found.trimap("pug_1")
    assert names(laptop) == ["oxford-iiit-pet"] and names(laptop / "oxford-iiit-pet") == ["annotations", "images"]
    data.pets()
    assert len(site.requests) == 2


def test_pets_from_the_bundle_when_the_authors_server_is_gone(site, laptop, tmp_path, monkeypatch):
    serve_pets(site, monkeypatch, tmp_path / "source")
    site.behave = lambda handler, number: handler.answer() if handler.path == "/bundle.tgz" else handler.send_error(404)
    assert len(data.pets().photos) == 4 and names(laptop / "oxford-iiit-pet") == ["annotations", "images"]


def test_pets_from_the_bundle_when_one_archive_breaks_off(site, laptop, tmp_path, monkeypatch):
    "What the abandoned archives left is cleaned up."
    monkeypatch.setattr(data.time, "sleep", lambda seconds: None)
    serve_pets(site, monkeypatch, tmp_path / "source")
    site.behave = lambda handler, number: handler.answer(
        cut=500 if handler.path == "/images.tar.gz" else None, ranges=False
    )
    assert len(data.pets().photos) == 4 and names(laptop / "oxford-iiit-pet") == ["annotations", "images"]


def test_pets_without_network(site, laptop, tmp_path, monkeypatch):
    monkeypatch.setattr(data.time, "sleep", lambda seconds: None)
    serve_pets(site, monkeypatch, tmp_path / "source")
    site.behave = lambda handler, number: handler.send_error(404)
    with pytest.raises(data.MissingData, match=r"Three ways.*404"):
        data.pets()
    assert not list(laptop.rglob("*"))


def test_pets_archive_that_is_already_there_is_used(site, laptop, tmp_path, monkeypatch):
    serve_pets(site, monkeypatch, tmp_path / "source")
    (laptop / "oxford-iiit-pet").mkdir(parents=True)
    (laptop / "oxford-iiit-pet" / "images.tar.gz").write_bytes(site.files["/images.tar.gz"])
    assert len(data.pets().photos) == 4 and [request[0] for request in site.requests] == ["/annotations.tar.gz"]
    assert names(laptop / "oxford-iiit-pet") == ["annotations", "images", "images.tar.gz"]  # not ours to delete


def test_two_processes_provide_pets_once(site, laptop, tmp_path, monkeypatch):
    serve_pets(site, monkeypatch, tmp_path / "source")
    site.behave = lambda handler, number: handler.answer(pace=0.05)
    table = {name: [file.name, file.urls, file.size, file.checksum] for name, file in data.PETS_ARCHIVES.items()}
    code = f"""
    import json
    from pets_learn import data
    for name, (file, urls, size, checksum) in json.loads({json.dumps(json.dumps(table))}).items():
        data.PETS_ARCHIVES[name] = data.RemoteFile(file, tuple(urls), size, checksum)
    print(len(data.pets().photos))
    """
    assert [process.communicate()[0].strip() for process in [python(code) for _ in range(2)]] == ["4", "4"]
    assert sorted(request[0] for request in site.requests) == ["/annotations.tar.gz", "/images.tar.gz"]
    assert names(laptop) == ["oxford-iiit-pet"]


# --- MNIST ---------------------------------------------------------------------------------------------------------------
def idx(*shape, content):
    return b"".join(n.to_bytes(4, "big") for n in (2048 + len(shape), *shape)) + content


def make_mnist(folder, split="test", count=5, packed=True, labels=None):
    folder.mkdir(parents=True, exist_ok=True)
    images = idx(count, 28, 28, content=bytes(range(256)) * (count * 784 // 256 + 1))[: 16 + count * 784]
    contents = (images, labels or idx(count, content=bytes(range(count))))
    for file, content in zip(data.MNIST_FILES[split], contents, strict=True):
        (folder / (file.name if packed else file.name[:-3])).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("below", ["mnist/MNIST/raw", "MNIST/raw", "raw", "mnist", ""])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_layouts(tmp_path, below, packed):
    make_mnist(tmp_path / below, packed=packed)
    images, labels = data.mnist("test", root=tmp_path)
    assert (
        images.shape == (5, 28, 28) and images.dtype == labels.dtype == np.uint8 and labels.tolist() == [0, 1, 2, 3, 4]
    )
    assert images.flags.writeable and images[0, 0, :3].tolist() == [0, 1, 2]
    with pytest.raises(data.MissingData, match="train"):
        data.mnist("train", root=tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        idx(4, content=b"\0\1\2\3"),
        idx(5, content=b"\0\1\2\3\x0a"),
        idx(5, content=b"\0\1"),
        idx(2, 28, 28, content=bytes(1568)),
        b"",
        b"\0\0\x08\x01",
        idx(5, content=b"\0\1\2\3\4\5"),
    ],
)
def test_mnist_files_that_cannot_be_right(tmp_path, labels):
    make_mnist(tmp_path, labels=labels if labels else b"\0")
    with pytest.raises(data.DamagedData, match=r"fetch (it|them) again"):
        data.mnist("test", root=tmp_path)


def test_mnist_download(site, laptop, tmp_path, monkeypatch):
    make_mnist(tmp_path / "source")
    files = []
    for file in data.MNIST_FILES["test"]:
        content = (tmp_path / "source" / file.name).read_bytes()
        site.files[f"/{file.name}"] = content
        files.append(
            data.RemoteFile(
                file.name,
                ("http://127.0.0.1:9/x", site.url(file.name)),
                len(content),
                "md5:" + hashlib.md5(content).hexdigest(),
            )
        )
    monkeypatch.setitem(data.MNIST_FILES, "test", tuple(files))
    monkeypatch.setattr(data.time, "sleep", lambda seconds: None)
    assert len(data.mnist("test")[0]) == 5 and len(names(laptop / "mnist" / "MNIST" / "raw")) == 2
    with pytest.raises(data.MissingData, match=r"11.6 MB"):
        data.mnist("train", download=False)
    with pytest.raises(BadSetting):
        data.mnist("dev")


# --- faces ---------------------------------------------------------------------------------------------------------------
def make_lfw(folder, below="lfw-py/lfw"):
    lists = folder / "lfw-py" if below.startswith("lfw-py") or below == "lfw-125" else folder
    for person in ("Ann_A", "Bob_B"):
        (folder / below / person).mkdir(parents=True)
        for number in (1, 2):
            (folder / below / person / f"{person}_{number:04}.jpg").write_bytes(photo_bytes())
    lists.mkdir(exist_ok=True)
    (lists / "pairsDevTrain.txt").write_text(
        "3\nAnn_A\t1\t2\nBob_B\t1\t2\nAnn_A\t1\t3\nAnn_A\t1\tBob_B\t2\nnonsense\n../x\t1\t2\nAnn_A\tone\t2\n"
    )


@pytest.mark.parametrize(
    "above, below",
    [("lfw", "lfw-py/lfw"), ("", "lfw-py/lfw"), ("lfw_home", "lfw_funneled"), ("lfw", "lfw-py/lfw_funneled")],
)
def test_lfw_layouts_and_bad_lines(tmp_path, above, below):
    make_lfw(tmp_path / above, below)
    found = data.lfw(root=tmp_path)
    pairs, left_out = found.pairs("train")
    assert [(one.name, two.name, same) for one, two, same in pairs] == [
        ("Ann_A_0001.jpg", "Ann_A_0002.jpg", True),
        ("Bob_B_0001.jpg", "Bob_B_0002.jpg", True),
        ("Ann_A_0001.jpg", "Bob_B_0002.jpg", False),
    ]
    assert len(left_out) == 4 and "line 4" in left_out[0] and pairs == data.lfw_pairs("train", root=tmp_path)
    assert "4 of 2 people, shorter side 30 px" in found.describe() and "left out 4" in found.describe()
    with pytest.raises(data.MissingData, match=r"pairsDevTest.txt"):
        found.pairs("test")


def test_lfw_missing(tmp_path, laptop):
    with pytest.raises(data.MissingData, match="243 MB"):
        data.lfw(root=tmp_path)
    with pytest.raises(data.MissingData, match="cannot be downloaded"):
        data.lfw(pictures="lfw-125")
    with pytest.raises(BadSetting, match="lfw-125"):
        data.lfw(pictures="lfw-64")


# --- weights -------------------------------------------------------------------------------------------------------------
def test_weights_are_checked_by_their_name(tmp_path):
    content = b"weights"
    good = f"mobilenet_v2-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / good).write_bytes(content)
    assert data._verify_name(tmp_path / good).name == good
    (tmp_path / "mobilenet_v2-7ebf99e0.pth").write_bytes(content)
    with pytest.raises(data.ChecksumMismatch):
        data.imagenet_weights("mobilenet_v2", root=tmp_path)


def test_weights_names(tmp_path, laptop):
    assert data._own_file("mobilenet_v2") == "mobilenet_v2-7ebf99e0.pth"
    assert data._own_file("mobilenet_v2.IMAGENET1K_V1") == "mobilenet_v2-b0353104.pth"
    for name in ("no_such_net", "mobilenet_v2.V9"):
        with pytest.raises(BadSetting, match="no weights called"):
            data.imagenet_weights(name)
    with pytest.raises(data.MissingData, match="Three ways"):
        data.imagenet_weights("squeezenet1_0", download=False)


def test_weights_from_elsewhere(tmp_path, monkeypatch, capsys):
    "Any file with the model's name and its own checksum will do; the line comes after the check, once for each file."
    monkeypatch.setattr(data, "_last_used", {})
    (folder := tmp_path / "weights").mkdir()
    digits = hashlib.sha256(b"mine").hexdigest()[:8]
    (mine := folder / f"mobilenet_v2_mine-{digits}.pth").write_bytes(b"something else")
    with pytest.raises(data.ChecksumMismatch):
        data.imagenet_weights("mobilenet_v2", root=tmp_path)
    assert capsys.readouterr().out == ""
    mine.write_bytes(b"mine")
    for _ in range(2):
        assert data.imagenet_weights("mobilenet_v2", root=tmp_path) == mine
    assert capsys.readouterr().out == f"weights for mobilenet_v2: {mine.name}, not torchvision's own file\n"
    with pytest.raises(data.MissingData):
        data.imagenet_weights("mobilenet_v2.IMAGENET1K_V1", root=tmp_path, download=False)
    own = f"mobilenet_v2-{hashlib.sha256(b'own').hexdigest()[:8]}.pth"
    monkeypatch.setattr(data, "_weights_url", lambda name: f"https://example.org/{own}")
    (folder / own).write_bytes(b"own")
    assert data.imagenet_weights("mobilenet_v2", root=tmp_path).name == own
    assert capsys.readouterr().out == f"weights for mobilenet_v2: {own}, torchvision's file\n"


def test_weights_download(site, laptop, monkeypatch):
    site.files["/net-" + SUM[7:15] + ".pth"] = CONTENT
    monkeypatch.setattr(data, "_weights_url", lambda name: site.url("net-" + SUM[7:15] + ".pth"))
    assert data.imagenet_weights("net").read_bytes() == CONTENT and names(laptop / "weights") == [
        "net-" + SUM[7:15] + ".pth"
    ]


def test_weights_at_smoke_scale(monkeypatch):
    monkeypatch.delenv("PETS_LEARN_SCALE", raising=False)
    with pytest.raises(data.MissingData, match="random weights"):
        data.imagenet_weights("mobilenet_v2")


def test_state_dicts_and_nothing_else(tmp_path):
    import torch
    from safetensors.torch import save_file

    state = {"weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        torch.testing.assert_close(data.load_state_dict(tmp_path / name), state, rtol=0, atol=0)

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:300])
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_bytes(b"hello")
    for name in ("evil.pth", "list.pth", "cut.pth", "empty.pth", "text.safetensors"):
        with pytest.raises(data.DamagedData):
            data.load_state_dict(tmp_path / name)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(data.MissingData):
        data.load_state_dict(tmp_path / "absent.pth")


# --- stand-ins -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def smoke(monkeypatch, tmp_path):
    pytest.importorskip("pets_learn.toys")
    monkeypatch.setenv("PETS_LEARN_SCALE", "smoke")
    monkeypatch.setattr(data, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    monkeypatch.setattr(data, "urlopen", lambda *args, **kwargs: pytest.fail("a smoke run asked the network"))
    return tmp_path / "cache"


def test_stand_ins_are_announced_once_and_kept(smoke, capsys):
    first = data.pets()
    assert (
        first.generated
        and not first.complete
        and "generated" in first.describe()
        and first.lists["trainval"]
        and first.lists["test"]
    )
    begin = time.perf_counter()
    assert data.pets().photos == first.photos and time.perf_counter() - begin < 2
    assert capsys.readouterr().out.count("stand in for") == 1
    checked = first.checked()
    assert set(checked.photos) <= set(first.photos) and len(checked.photos) > 0.8 * len(first.photos)


def test_stand_in_faces_and_digits(smoke, capsys):
    for split in ("train", "test"):
        pairs = data.lfw_pairs(split)
        assert (
            pairs
            and {same for *_, same in pairs} == {True, False}
            and all(one.is_file() and two.is_file() for one, two, _ in pairs)
        )
        images, labels = data.mnist(split)
        assert images.shape[1:] == (28, 28) and images.dtype == np.uint8 and len(images) == len(labels)
    assert capsys.readouterr().out.count("stand in for") == 2
    for pictures, side in (("lfw-py", 64), ("lfw-125", 125)):
        found = data.lfw(pictures=pictures)
        assert data.read_photo(next(iter(found.faces.values()))).size == (side, side) and f"side {side} px" in found.describe()


def test_stand_ins_follow_the_version_of_the_drawings(smoke, monkeypatch):
    from pets_learn import toys

    before = data._stand_in_folder("pets", {})
    assert data._stand_in_folder("pets", {}) == before
    monkeypatch.setattr(toys, "VERSION", toys.VERSION + 1)
    assert data._stand_in_folder("pets", {}) != before


# --- the real copies -----------------------------------------------------------------------------------------------------
def real(name):
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"PETS_LEARN_HOME has no {name}")


@pytest.mark.real
@real("oxford-iiit-pet")
def test_real_pets():
    found = data.pets(root=REAL)
    assert {name: len(stems) for name, stems in found.lists.items()} == {"trainval": 3680, "test": 3669}
    assert (
        len(found.photos) == 7390
        and len(found.unlisted) == 41
        and found.complete
        and not found.generated
        and not found.problems
    )
    assert all(found.trimap(stem) for stems in found.lists.values() for stem in stems)
    assert sum(found.head_box(stem) is not None for stem in found.lists["trainval"]) == 3671
    assert len({stem.rsplit("_", 1)[0] for stem in found.stems}) == 37
    good, skipped = data.check_photos(found.photos[::50])
    assert len(good) == 148 and not skipped


@pytest.mark.real
@real("mnist")
def test_real_mnist():
    images, labels = data.mnist("train", root=REAL)
    assert images.shape == (60_000, 28, 28) and labels[0] == 5 and np.bincount(labels).tolist()[:2] == [5923, 6742]
    assert data.mnist("test", root=REAL)[0].shape == (10_000, 28, 28) and data.mnist("test", root=REAL)[1][0] == 7
    for files in data.MNIST_FILES.values():
        for file in files:
            data.verify(REAL / "mnist" / "MNIST" / "raw" / file.name, file.size, file.checksum)


@pytest.mark.real
@real("lfw")
@pytest.mark.parametrize("pictures, side", [("lfw-py", 64), ("lfw-125", 125)])
def test_real_faces(pictures, side):
    found = data.lfw(root=REAL, pictures=pictures)
    for split, count in (("train", 2200), ("test", 1000)):
        pairs, left_out = found.pairs(split)
        assert len(pairs) == count and sum(same for *_, same in pairs) == count // 2 and not left_out
    assert data.read_photo(pairs[0][0]).size == (side, side)
    for file in data.LFW_LIST_FILES:
        data.verify(REAL / "lfw" / "lfw-py" / file.name, file.size, file.checksum)


@pytest.mark.real
@real("weights")
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_0"])
def test_real_weights(name):
    import torchvision

    path = data.imagenet_weights(name, root=REAL)
    getattr(torchvision.models, name)(weights=None).load_state_dict(data.load_state_dict(path), strict=True)
