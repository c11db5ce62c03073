# SPDX-License-Identifier: Apache-2.0
"""HTTP for tests: one call per request, a connection to keep, and raw bytes for what no client would send."""
import http.client
import json
import random
import socket
import threading
import time

HOST = "127.0.0.1"


def _port_range():
    """Ports that the system gives to no client by itself: else one may take a daemon's while it restarts."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            low = int(f.read().split()[0])
    except OSError:
        low = 32768
    return range(10240, low) if low > 12000 else range(10240, 65000)


def free_port():
    """A port that was free a moment ago, by chance of thousands, for other tests run at the same time.
    Servers that can take port 0 themselves should."""
    while True:
        port = random.SystemRandom().choice(_port_range())
        try:
            with socket.socket() as s:
                s.bind((HOST, port))
            return port
        except OSError:
            continue


# Python's library cannot write zstd. A frame of blocks that are stored, or of one byte repeated, needs no compressor.
def _zstd(size, blocks):
    head = b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little")
    return head + b"".join((last | kind << 1 | n << 3).to_bytes(3, "little") + data
                           for last, kind, n, data in blocks)


def zstd_stored(data):
    """data as one zstd frame."""
    step = 128 * 1024
    cuts = range(0, max(len(data), 1), step)
    return _zstd(len(data), [(at + step >= len(data), 0, len(data[at:at + step]), data[at:at + step]) for at in cuts])


def zstd_zeros(size):
    """A small frame that becomes size zero bytes, a multiple of 128 KiB. (A window of 8 MiB, not the whole size.)"""
    step = 128 * 1024
    frame = _zstd(size, [(at + step == size, 1, step, b"\0") for at in range(0, size, step)])
    return frame[:4] + b"\x00\x68" + frame[9:]


class Answer:
    """Status, fields (lower-case names) and body of one answer."""

    def __init__(self, status, fields, body):
        self.status = status
        self.fields = {}
        for name, value in fields:
            name = name.lower()
            self.fields[name] = f"{self.fields[name]}, {value}" if name in self.fields else value
        self.body = body

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def error(self):
        """The text of {"error": …}, else None."""
        value = self.json()
        return value.get("error") if isinstance(value, dict) else None

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"


class Client:
    """One kept connection. A dead one is opened again by the next call, never within one: a request
    that may have reached the server is not sent twice behind the test's back."""

    def __init__(self, port, timeout=30):
        self.conn = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def call(self, method, path, body=None, headers=None):
        try:
            self.conn.request(method, path, body, headers or {})
            r = self.conn.getresponse()
            return Answer(r.status, r.getheaders(), r.read())
        except BaseException:
            self.conn.close()
            raise

    def close(self):
        self.conn.close()


def call(port, method, path, body=None, headers=None, timeout=30):
    """One request on a connection of its own."""
    client = Client(port, timeout)
    try:
        return client.call(method, path, body, headers)
    finally:
        client.close()


def raw(port, data, timeout=10, half_close=False):
    """Sends bytes as they are; returns everything the server sends until it closes or goes quiet."""
    out = b""
    with socket.create_connection((HOST, port), timeout=timeout) as s:
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused half way: the answer is what counts
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            s.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = s.recv(65536)
            except OSError:
                break
            if not piece:
                break
            out += piece
    return out


class Relay:
    """A port that leads to another one until it is cut off: then whoever is connected is hung up on, and the next is refused."""

    def __init__(self, to):
        self.to, self.port = to, free_port()
        self.listener, self.open = None, set()
        self.on()

    def on(self):
        self.listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def off(self):
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
            listener.close()
        for s in list(self.open):
            self._end(s)

    def _end(self, s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _accept(self, listener):
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self.to))
            except OSError:
                near.close()
                continue
            self.open |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()
            if self.listener is not listener:  # cut off meanwhile
                self._end(near)

    def _copy(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        self._end(a)
        self._end(b)
        self.open.discard(a)


def answers(data):
    """Splits the bytes of one or several pipelined answers."""
    out = []
    while data:
        head, mark, rest = data.partition(b"\r\n\r\n")
        if not mark:
            break
        lines = head.decode("latin-1").split("\r\n")
        fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        status = int(lines[0].split()[1])
        size = int(next((v for k, v in fields if k.lower() == "content-length"), 0))
        if status == 100 or status == 204:
            size = 0
        out.append(Answer(status, fields, rest[:size]))
        data = rest[size:]
    return out


def listening(port):
    """Does anybody accept connections there?"""
    try:
        socket.create_connection((HOST, port), 5).close()
        return True
    except ConnectionRefusedError:
        return False


def wait_for(check, seconds, every=0.05):
    """Polls until check() is true; its last value is returned either way."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() >= end:
            return value
        time.sleep(every)
