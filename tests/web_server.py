"""A web server in a thread, with byte ranges or without, for tests of addresses."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Its class's attributes say what is served; a subclass of its own for every server."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]
    ranges = True
    tag = '"1"'
    status = 200

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        cls, asked = type(self), self.headers.get("Range")
        body = cls.files.get(self.path.rpartition("/")[2])
        status = 404 if body is None else cls.status
        body = body if status == 200 else b""
        cls.asked.append(f"{self.command} {self.path} {asked or ''}".strip())
        if status == 200 and asked and cls.ranges:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            body, status = body[first : last + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if cls.tag:
            self.send_header("ETag", cls.tag)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextlib.contextmanager
def served(**files):
    """Yields the handler's class and the address of the folder that holds the files."""
    handler = type("Own", (Handler,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_address[1]}/x"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
