# SPDX-License-Identifier: Apache-2.0
"""A client of GET /v1/stream that keeps everything it was sent, as bytes and as frames."""
import json
import socket
import threading
import urllib.parse

from . import net


class Stream:
    """Open at once; a thread reads. `frames` are (id, event, data) in order, `comments` a count, `ended` when it is over."""

    def __init__(self, port, tables, since=None, last_id=None, headers=None, read=True, rcvbuf=None, query="", version="1.1"):
        tables = [tables] if isinstance(tables, str) else tables
        pairs = [("table", t) for t in tables] + ([("since", since)] if since else [])
        self.path = "/v1/stream?" + urllib.parse.urlencode(pairs) + query
        self.frames, self.comments, self.raw, self.ended, self.whole = [], 0, b"", False, False
        self.lock = threading.Lock()
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.connect((net.HOST, port))
        fields = {"Host": "h", "Accept": "text/event-stream", **(headers or {})}
        if last_id is not None:
            fields["Last-Event-ID"] = last_id
        head = f"GET {self.path} HTTP/{version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
        self.sock.sendall(head.encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.fields = {}
        while True:
            line = self.file.readline().decode().strip()
            if not line:
                break
            name, _, value = line.partition(":")
            self.fields[name.lower()] = value.strip()
        self.chunked = self.fields.get("transfer-encoding") == "chunked"
        self.text = b""
        self.thread = None
        if self.status != 200:
            self.body = self.file.read(int(self.fields.get("content-length", 0)))
        elif read:
            self.read()

    def read(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self):
        try:
            while True:
                if self.chunked:
                    line = self.file.readline()
                    if not line:
                        break
                    n = int(line, 16)
                    data = self.file.read(n + 2)[:n]
                    if n == 0:
                        self.whole = True
                        break
                    if len(data) < n:
                        break
                else:
                    data = self.file.read1(65536)
                    if not data:
                        break
                self._take(data)
        except (OSError, ValueError):
            pass
        self.ended = True

    def _take(self, data):
        self.text += data
        *parts, self.text = self.text.split(b"\n\n")
        with self.lock:
            self.raw += data if len(self.raw) < 65536 else b""
            for part in parts:
                id_, event, value = None, None, None
                for line in part.decode().split("\n"):
                    name, _, text = line.partition(":")
                    if name == "":
                        self.comments += 1
                    elif name == "id":
                        id_ = text.strip()
                    elif name == "event":
                        event = text.strip()
                    elif name == "data":
                        value = json.loads(text)
                if value is not None:
                    self.frames.append((id_, event, value))

    def events(self):
        with self.lock:
            return [f[2] for f in self.frames if f[1] is None]

    def ids(self):
        with self.lock:
            return [f[0] for f in self.frames if f[0] is not None]

    def data(self, key=None):
        return [e["data"] if key is None else e["data"].get(key) for e in self.events()]

    def wait(self, count, seconds=20):
        """At least so many events are here, or the time is over."""
        return net.wait_for(lambda: len(self.events()) >= count, seconds, 0.005)

    def wait_end(self, seconds=10):
        return net.wait_for(lambda: self.ended, seconds, 0.01)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self.thread:
            self.thread.join(5)
        self.file.close()
        self.sock.close()
