"""A load client cheaper than any server: prepared bytes over raw sockets, nothing parsed but status and length.

A client library would cost as much as the service it measures. Each connection sends its next prepared request when the
answer to the last has arrived; the loop is one epoll, without coroutines.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

MEDIA = "application/vnd.badge-ledger.submission"


def post(path: str, body: bytes, media: str = MEDIA) -> bytes:
    """A prepared POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    """A prepared GET."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


class _Connection:
    __slots__ = ("answer", "need", "request", "sent", "sock", "started")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.answer = b""
        self.need = 0
        self.request = b""
        self.sent = 0
        self.started = 0.0


def load(port: int, requests: Sequence[bytes], connections: int) -> list[float]:
    """Send every request once, `connections` at a time; the latencies in seconds. Raises on any answer but 200."""
    poll = select.epoll()
    by_fd: dict[int, _Connection] = {}
    pending = iter(requests)
    latencies: list[float] = []

    def begin(connection: _Connection) -> bool:
        request = next(pending, None)
        if request is None:
            return False
        connection.request, connection.answer, connection.need = request, b"", 0
        connection.started = time.perf_counter()
        connection.sent = _send(connection.sock, request, 0)
        poll.modify(connection.sock.fileno(), select.EPOLLIN if connection.sent == len(request) else select.EPOLLOUT)
        return True

    for _ in range(min(connections, len(requests))):
        connection = _Connection(port)
        by_fd[connection.sock.fileno()] = connection
        poll.register(connection.sock.fileno(), select.EPOLLIN)
        begin(connection)
    try:
        while len(latencies) < len(requests):
            for fd, event in poll.poll(30):
                connection = by_fd[fd]
                if event & select.EPOLLOUT:
                    connection.sent = _send(connection.sock, connection.request, connection.sent)
                    if connection.sent == len(connection.request):
                        poll.modify(fd, select.EPOLLIN)
                    continue
                data = connection.sock.recv(262_144)
                if not data:
                    raise ConnectionError("the service closed the connection")
                connection.answer += data
                if not connection.need:
                    end = connection.answer.find(b"\r\n\r\n")
                    if end < 0:
                        continue
                    head = connection.answer[:end]
                    if not head.startswith(b"HTTP/1.1 200"):
                        raise RuntimeError(connection.answer[:600].decode(errors="replace"))
                    at = head.lower().index(b"content-length:") + 15
                    connection.need = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
                if len(connection.answer) >= connection.need:
                    latencies.append(time.perf_counter() - connection.started)
                    begin(connection)
    finally:
        for connection in by_fd.values():
            connection.sock.close()
        poll.close()
    return latencies


def _send(sock: socket.socket, data: bytes, start: int) -> int:
    try:
        return start + sock.send(data[start:] if start else data)
    except BlockingIOError:
        return start
