#!/usr/local/bin/python3 -IS
"""Asks a service how it is: exit 0 when it serves, 1 and one line on standard error when it does not.

    probe HOST:PORT          gRPC health (grpc.health.v1) of the server as a whole, without TLS
    probe HOST:PORT SERVICE  of one of its services: "turn" is served by whoever stands ready and waits (--turn)
    probe http://...         any page: 2xx will do

A container's health check runs again and again within the container's own, small share of a core. Importing gRPC for
it would take about a hundred times the question itself, and hold up the service that is asked: so this speaks the few
frames of HTTP/2 that one question needs, imports next to nothing, and runs by its path, isolated and without site.
"""

import socket
import sys
from collections.abc import Iterator

TIMEOUT_S = 3.0
MAX_BYTES = 65536
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
SERVING = b"\x00" + (2).to_bytes(4, "big") + b"\x08\x01"  # HealthCheckResponse(status=SERVING)


def main(words: list[str]) -> int:
    """The exit code for these arguments."""
    page = bool(words) and words[0].startswith("http://")
    if not 1 <= len(words) <= 2 or (page and len(words) > 1):
        return _said("usage: probe HOST:PORT [SERVICE] | probe http://HOST:PORT/PATH")
    try:
        return _page(words[0]) if page else _health(*words)
    except (OSError, ValueError) as error:
        return _said(f"{words[0]}: {error}")


def _health(address: str, service: str = "") -> int:
    question = _question(address, service)
    with _connected(address) as wire:
        wire.sendall(PREFACE + _frame(SETTINGS, 0, 0, b"") + question)
        answer = b""
        for kind, flags, content in _frames(wire):
            if kind == SETTINGS and not flags & ACK:
                wire.sendall(_frame(SETTINGS, ACK, 0, b""))
            elif kind == DATA:
                answer += content
            if kind in (RST_STREAM, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM):
                break
    return 0 if answer == SERVING else _said(f"{address}: does not say that it serves{service and f' {service}'}")


def _question(address: str, service: str) -> bytes:
    """Health/Check as headers and data; HPACK with nothing compressed but what its static table has."""
    named = b"\x0a" + _text(service) if service else b""  # HealthCheckRequest(service=...); none is the whole server
    headers = b"\x83\x86"  # :method POST, :scheme http
    headers += b"\x04" + _text("/grpc.health.v1.Health/Check") + b"\x01" + _text(address)
    headers += b"\x0f\x10" + _text("application/grpc") + b"\x00" + _text("te") + _text("trailers")
    message = b"\x00" + len(named).to_bytes(4, "big") + named
    return _frame(HEADERS, END_HEADERS, 1, headers) + _frame(DATA, END_STREAM, 1, message)


def _text(text: str) -> bytes:
    content = text.encode("ascii")
    if len(content) > 126:
        raise ValueError(f"{text[:20]}... is too long for a HOST:PORT or a service")
    return bytes([len(content)]) + content


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _frames(wire: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and content of each frame, until the other side ends or has said more than any answer is."""
    read = b""
    taken = 0
    while taken < MAX_BYTES:
        while len(read) < 9 or len(read) < 9 + int.from_bytes(read[:3], "big"):
            more = wire.recv(4096)
            if not more:
                raise ValueError("ended the connection before it answered")
            read += more
            if len(read) > MAX_BYTES:
                raise ValueError("answers in no way that a health check does")
        length = int.from_bytes(read[:3], "big")
        yield read[3], read[4], read[9 : 9 + length]
        read, taken = read[9 + length :], taken + 9 + length


def _page(url: str) -> int:
    address, slash, path = url.removeprefix("http://").partition("/")
    with _connected(address) as wire:
        wire.sendall(f"GET {slash or '/'}{path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode("ascii"))
        with wire.makefile("rb") as file:
            status = file.readline(1024).decode("latin-1").strip()
    good = status.startswith("HTTP/1.") and status[8:10] == " 2"
    return 0 if good else _said(f"{url}: {status or 'no answer'}")


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("should be HOST:PORT, such as 127.0.0.1:7401")
    return socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S)


def _said(text: str) -> int:
    print(f"probe: {text}", file=sys.stderr)  # noqa: T201  # the answer to a command
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
