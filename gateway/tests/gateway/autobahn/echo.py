"""A WebSocket server that sends every message back, on the port that is its argument."""

import asyncio
import logging
import sys

from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)


async def serve(port):
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    # Who does something wrong is told what, and the time for that is the machine's that tests.
    factory.setProtocolOptions(
        perMessageCompressionAccept=accept,
        failByDrop=False,
        echoCloseCodeReason=True,
        openHandshakeTimeout=30,
        closeHandshakeTimeout=30,
    )
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    await server.serve_forever()


# What it refuses is what is tried.
logging.disable()
asyncio.run(serve(int(sys.argv[1])))
