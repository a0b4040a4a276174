#!/usr/bin/env python3
"""radius-hold.py LISTEN_IP:PORT SERVER_IP:PORT SECONDS: a RADIUS server that thinks.

Hands requests to the server and holds each final answer (accept, reject) back for SECONDS, as a server does whose second
factor waits for somebody's phone. Retransmissions are counted and dropped, as NPS drops them; also one that crosses its
answer on the way, for a server that took it for a new request would ask the person twice.
Prints one line an event; "request" lines are what reached the server.
"""
import select, socket, sys, time


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


listen, server, seconds = address(sys.argv[1]), address(sys.argv[2]), float(sys.argv[3])
start = time.monotonic()


def log(*words):
    print("%8.3f" % (time.monotonic() - start), *words, flush=True)


def user(packet):
    """The value of User-Name (RFC 2865 section 5.1), "-" without one."""
    at = 20
    while at + 2 <= len(packet) and packet[at + 1] >= 2:
        if packet[at] == 1:
            return packet[at + 2:at + packet[at + 1]].decode("ascii", "replace")
        at += packet[at + 1]
    return "-"


front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
front.bind(listen)
waiting = {}  # socket to the server -> (client, request)
known = set()  # requests that are being thought about or were answered
held = []  # (when, client, request, reply)
log("ready")
while True:
    next_due = min([due for due, *_ in held], default=None)
    timeout = None if next_due is None else max(0, next_due - time.monotonic())
    for ready in select.select([front, *waiting], [], [], timeout)[0]:
        if ready is front:
            request, client = front.recvfrom(4096)
            key = (client, request)
            if key in known:
                log("retransmission id", request[1])
                continue
            known.add(key)
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect(server)
            back.send(request)
            waiting[back] = (client, request)
            log("request code", request[0], "id", request[1], "octets", len(request), "user", user(request))
        else:
            client, request = waiting.pop(ready)
            try:
                reply = ready.recv(4096)
            except OSError as error:
                log("server:", error)
                reply = b""
            ready.close()
            if not reply:
                known.discard((client, request))
                continue
            wait = seconds if reply[0] in (2, 3) else 0
            log("reply code", reply[0], "id", request[1], "held", wait)
            held.append((time.monotonic() + wait, client, request, reply))
    for entry in [e for e in held if e[0] <= time.monotonic()]:
        held.remove(entry)
        _, client, request, reply = entry
        front.sendto(reply, client)
        log("released code", reply[0], "id", request[1])
