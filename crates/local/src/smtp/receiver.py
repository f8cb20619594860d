"""An SMTP server that keeps what it is sent: a line of JSON a mail. Its settings are its argument."""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

SETTINGS = json.loads(sys.argv[1])


class Keeper:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in SETTINGS["refused"]:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "private": session.ssl is not None or SETTINGS["tls"] == "tls",
            "user": session.auth_data if session.authenticated else None,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "body": message.get_content(),
        }
        with open(SETTINGS["mails"], "a", encoding="utf-8") as mails:
            mails.write(json.dumps(mail) + "\n")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    known = [data.login.decode(), data.password.decode()] == SETTINGS["user"]
    # What is not handled here is refused by the server itself.
    return AuthResult(success=known, handled=known, auth_data=data.login.decode())


async def main():
    context = None
    if SETTINGS["certificate"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*SETTINGS["certificate"])
    starttls = SETTINGS["tls"] == "starttls"

    def connection():
        return SMTP(
            Keeper(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate,
            auth_required=SETTINGS["user"] is not None,
            auth_require_tls=starttls,
        )

    implicit = context if SETTINGS["tls"] == "tls" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", SETTINGS["port"], ssl=implicit)
    await server.serve_forever()


asyncio.run(main())
