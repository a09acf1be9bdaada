"""A mail server for one test: takes mails into a folder, or misbehaves as it is told."""

import argparse
import asyncio
import json
import logging
import os
import ssl
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", help="PEM file with certificate and key")
    parser.add_argument("--tls", choices=["offer", "require", "wrap"], help="how the certificate is used")
    parser.add_argument("--user", help="who may send, as NAME:PASSWORD; anybody when left out")
    parser.add_argument("--greeting", help="said instead of 220")
    parser.add_argument("--sender", help="answer to the sender")
    parser.add_argument("--recipient", help="answer to every recipient")
    parser.add_argument("--later", type=int, default=0, help="as many recipients are put off with 451")
    parser.add_argument("--message", help="answer to every message")
    parser.add_argument("--stall", choices=["greeting", "recipient", "message", "reset"], help="where it says nothing more")
    parser.add_argument("--stalls", type=int, default=1000, help="how often it does that")
    parser.add_argument("--die", type=int, default=0, help="as many messages are kept, and the connection cut unanswered")
    return parser.parse_args()


class Handler:
    def __init__(self, told):
        self.told = told
        self.count = 0

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if self.told.sender:
            return self.told.sender
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 2.1.0 fine"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        await stall(self.told, "recipient")
        if self.told.later > 0:
            self.told.later -= 1
            return f"451 4.7.1 <{address}> greylisted, come back later"
        if self.told.recipient:
            return self.told.recipient.replace("ADDRESS", address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_RSET(self, server, session, envelope):
        await stall(self.told, "reset")
        return "250 2.0.0 fine"

    async def handle_DATA(self, server, session, envelope):
        await stall(self.told, "message")
        if self.told.message:
            return self.told.message
        self.keep(session, envelope)
        if self.told.die > 0:
            self.told.die -= 1
            server.transport.abort()
        return "250 2.0.0 kept"

    def keep(self, session, envelope):
        self.count += 1
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "hello": session.host_name,
            "peer": session.peer[1],
            "encrypted": session.ssl is not None or self.told.tls == "wrap",
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "text": envelope.content.decode("utf-8"),
        }
        write(self.told.folder, f"{os.getpid()}-{self.count:06}.mail", json.dumps(mail))


class Server(SMTP):
    """Says another greeting, or none."""

    told = None
    greeted = False

    async def push(self, status):
        if not self.greeted:
            self.greeted = True
            await stall(self.told, "greeting")
            if self.told.greeting:
                status = self.told.greeting
        await super().push(status)


async def stall(told, place):
    if told.stall == place and told.stalls > 0:
        told.stalls -= 1
        await asyncio.sleep(3600)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".part", path)


def context(told):
    if not told.certificate:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(told.certificate)
    return made


async def main():
    told = options()
    # A login in the clear is what some tests are about.
    warnings.simplefilter("ignore")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    tls = context(told)
    handler = Handler(told)
    Server.told = told

    class Login:
        def __init__(self, data):
            self.login, self.password = data.login, data.password

    def authenticate(server, session, envelope, mechanism, data):
        fine = told.user == f"{data.login.decode()}:{data.password.decode()}"
        return AuthResult(success=fine, handled=False, auth_data=Login(data))

    def factory():
        return Server(
            handler,
            hostname="mail.test",
            enable_SMTPUTF8=True,
            tls_context=None if told.tls == "wrap" else tls,
            require_starttls=told.tls == "require",
            authenticator=authenticate if told.user else None,
            auth_required=bool(told.user),
            # Without users a login is offered to nobody who speaks in the clear.
            auth_require_tls=not told.user,
        )

    loop = asyncio.get_running_loop()
    wrap = tls if told.tls == "wrap" else None
    server = await loop.create_server(factory, "127.0.0.1", told.port, ssl=wrap, reuse_address=True)
    write(told.folder, "port", str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


asyncio.run(main())
