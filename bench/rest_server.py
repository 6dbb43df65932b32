"""A web API that costs next to nothing: `python rest_server.py PAGES PORT_FILE`; every page is rendered beforehand.

One thread and asyncio's protocols, so that what is measured is the client. Ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

PAGE = 100


def record(number: int) -> dict[str, object]:
    """A record as invoices look: two objects, a list of objects."""
    lines = [{"line": i + 1, "sku": f"A{number % 40}", "quantity": i + 1, "price": 9.5} for i in range(3)]
    return {
        "id": number,
        "number": f"R-{number:08}",
        "status": ("open", "paid", "void")[number % 3],
        "amount": number % 10_000 / 100,
        "updated": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        "customer": {
            "id": number % 997,
            "name": f"Firm {number % 997}",
            "address": {"city": "Graz", "country": "AT"},
        },
        "lines": lines,
    }


def answers(pages: int) -> list[bytes]:
    """Whole HTTP answers, page 1 first."""
    found = []
    for page in range(pages):
        data = [record(page * PAGE + i) for i in range(PAGE)]
        body = json.dumps({"data": data, "page": page + 1, "total_pages": pages}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


class Api(asyncio.Protocol):
    """Answers `GET …?page=N`."""

    pages: list[bytes]
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            request, self.waiting = self.waiting.split(b"\r\n\r\n", 1)
            line = request.split(b"\r\n", 1)[0].decode()
            page = int(line.split("page=", 1)[1].split("&")[0].split()[0]) if "page=" in line else 1
            if 1 <= page <= len(self.pages):
                self.transport.write(self.pages[page - 1])
            else:
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def main() -> None:
    """Serve until killed."""
    Api.pages = answers(int(sys.argv[1]))
    server = await asyncio.get_running_loop().create_server(Api, "127.0.0.1", 0)
    Path(sys.argv[2]).write_text(f"{server.sockets[0].getsockname()[1]}\n", encoding="utf-8")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
