"""Serves the page of a study that runs, to this machine alone.

It listens on 127.0.0.1. Other users of the machine reach that address too, and any page in a browser can ask
for it: so the address holds a secret word, and a request must name this host (a page of another name that
leads here does not). Only four fixed things are given out, and nothing is taken.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from string import Template

from analysis import files
from analysis.errors import InputError
from analysis.report.html import text
from analysis.report.watch import Counts, Live, is_due

HOST = "127.0.0.1"
_WAIT = 0.2
_KINDS = {".svg": "image/svg+xml", ".csv": "text/csv", ".pdf": "application/pdf", ".png": "image/png"}
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1:port (0: any that is free). page: the report's file, shown once it is there."""

    daemon_threads = True
    address_family = socketserver.socket.AF_INET

    def __init__(self, live: Live, page: Path, title: str, port: int = 0):
        self.live, self.page, self.title = live, page, title
        self.secret = secrets.token_urlsafe(12)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(
                f"--port: {port}: cannot listen there: {why}; 0 takes any that is free"
            ) from None

    def server_bind(self) -> None:
        """Without http.server's own, which asks the name of this host of whoever resolves names."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.secret}/"

    @property
    def names(self) -> tuple[str, str]:
        """What a request may call this host."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "lab", ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: what is asked for is in the page."""

    def _answer(self, body: bool) -> None:
        if self.headers.get("Host") not in self.server.names:
            return self._refuse(421, "this is another host", body)
        word, _, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(word.encode("utf-8", "replace"), self.server.secret.encode()):
            return self._refuse(404, "the address is the whole one that `lab report --watch` printed", body)
        try:
            content, kind, policy = self._found(name)
        except (OSError, files.Refused, InputError):
            return self._refuse(404, "not there (yet)", body)
        return self._send(200, content, kind, policy, body)

    def _refuse(self, code: int, why: str, body: bool) -> None:
        self._send(code, f"{why}\n".encode(), "text/plain", _SANDBOX, body)

    def _found(self, name: str) -> tuple[bytes, str, str]:
        """(content, type, policy) of what may be asked for. Raises OSError or Refused where it is not."""
        page = self.server.page
        if name in ("", "state"):
            fragment = self.server.live.fragment()
            if name == "state":
                return fragment.encode(), "text/html", _SANDBOX
            content, policy = whole(self.server.title, fragment, self.server.live.every)
            return content, "text/html", policy
        if name == "report.html":
            # It brings a policy of its own.
            return files.read_bytes(page, page.parent), "text/html", "frame-ancestors 'self'"
        folder, _, file = name.partition("/")
        kind = _KINDS.get(Path(file).suffix)
        if folder == "figures" and kind and "/" not in file:
            return files.read_bytes(page.parent / folder / file, page.parent), kind, _SANDBOX
        raise FileNotFoundError(name)

    def _send(self, code: int, content: bytes, kind: str, policy: str, body: bool) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
        if code == 200 and self.headers.get("If-None-Match") == tag:
            code, content = 304, b""
        self.send_response(code)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        if code != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


def whole(title: str, fragment: str, every: float) -> tuple[bytes, str]:
    """(the page, its policy): what is there now, and a script that asks for what has changed."""
    room = resources.files("analysis.report")
    style, script, page = (
        room.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "live.js", "live.html")
    )
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    policy += f"frame-src 'self'; frame-ancestors 'none'; script-src 'sha256-{known}'"
    policy += "; base-uri 'none'; form-action 'none'"
    content = Template(page).substitute(
        title=text(title), style=style, script=script, fragment=fragment, every=f"{every:g}"
    )
    return content.encode(), policy


def watch(
    live: Live,
    page: Path,
    title: str,
    rebuild: Sequence[str],
    environment: dict[str, str],
    port: int = 0,
    ready: Callable[[str], None] = lambda url: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until interrupted. rebuild: the command that writes the report to `page`, as a process of its own
    that gives way to the training; ready: told the address.

    Raises InputError where the port is taken.
    """
    server = Server(live, page, title, port)
    thread = threading.Thread(target=server.serve_forever, args=(_WAIT,), daemon=True)
    thread.start()
    try:
        with _signals() as ended:
            ready(server.url)
            while not ended.is_set():
                _report_where_due(live, rebuild, environment, say, ended)
                ended.wait(live.every)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _report_where_due(
    live: Live,
    rebuild: Sequence[str],
    environment: dict[str, str],
    say: Callable[[str], None],
    ended: threading.Event,
) -> None:
    counts = Counts.of(live.current())
    if not is_due(counts, live.reported):
        return
    live.writing = True
    try:
        problem = _run(rebuild, environment, ended)
    finally:
        live.writing = False
    if ended.is_set():
        return
    say(problem or f"report of {counts.done} of {counts.cells} runs written")
    live.failed = problem
    live.reported = counts  # also of one that could not be written: the next is due when there is more


def _run(command: Sequence[str], environment: dict[str, str], ended: threading.Event) -> str:
    """The last line of what went wrong, or nothing. The process is killed once `ended` is set."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 5)
    told = None
    while told is None:
        try:
            told = process.communicate(timeout=_WAIT)[1].decode("utf-8", "replace").strip()
        except subprocess.TimeoutExpired:
            if ended.is_set():
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)  # its own second process too
    return "" if process.returncode == 0 else (told.splitlines() or ["the report could not be written"])[-1]


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: the block ends itself, and no process is left behind.

    Nothing is raised: an exception of a signal is lost where it meets a destructor or the callback of
    a weak reference, as within an import.
    """
    ended = threading.Event()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: ended.set())
    except ValueError:  # not the main thread
        yield ended
        return
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
