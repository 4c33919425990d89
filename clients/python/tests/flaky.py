"""A network that loses answers: what retries exist for.

Between client and server stands a proxy. Armed, it lets the next request through and, once the server begins to answer
it, hangs up on both without passing anything on: the server has done its work and the client cannot know.
"""

import asyncio
import threading
from types import TracebackType
from typing import Self

FRAME_HEADER_BYTES = 9
HEADERS = 1


class LosingProxy:
    """Stands before a server (host:port) in a thread of its own."""

    def __init__(self, server: str) -> None:
        self._host, self._port = server.rsplit(":", 1)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._ready = threading.Event()
        self._armed = False
        self.lost = 0
        """How many answers have been lost."""
        self.target = ""
        """Where clients connect to."""

    def lose_the_next_answer(self) -> None:
        """Arms the proxy, for one answer."""
        self._armed = True

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        self._ready.set()
        # Connections that are open at the end are cancelled with the loop, and closed by that.
        await self._stop.wait()
        listener.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self._host, int(self._port))
        requests = asyncio.create_task(self._pass_requests(client, to_server))
        try:
            await self._pass_answers(server, to_client)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            requests.cancel()
            to_client.close()
            to_server.close()

    async def _pass_requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while data := await client.read(65536):
            to_server.write(data)
            await to_server.drain()

    async def _pass_answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while True:
            header = await server.readexactly(FRAME_HEADER_BYTES)
            frame = header + await server.readexactly(int.from_bytes(header[:3]))
            # An answer begins with a frame of headers; what comes before it are windows and pings.
            if self._armed and header[3] == HEADERS:
                self._armed = False
                self.lost += 1
                return
            to_client.write(frame)
            await to_client.drain()
