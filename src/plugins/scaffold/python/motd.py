#!/usr/bin/env python3
"""@NAME@: greets at login."""

import json
import sys

DESCRIPTION = {
    "op": "describe",
    "name": "@NAME@",
    "summary": "greets at login",
    "version": "0.1.0",
    "stages": ["system", "node"],
}


class Host:
    """fam-build, at the other end of standard input and output."""

    def __init__(self, lines=sys.stdin, out=sys.stdout):
        self.lines, self.out = lines, out

    def send(self, **request):
        print(json.dumps(request), file=self.out, flush=True)

    def ask(self, op, **arguments):
        self.send(op=op, **arguments)
        reply = json.loads(self.lines.readline())
        if not reply["ok"]:
            raise OSError(reply["error"])
        return reply


def check(settings):
    """Gives what is wrong with the settings: the key, the message and a hint; None if nothing is."""
    for key in settings:
        if key != "text":
            return key, "is no setting", "there is: text"
    if not isinstance(settings.get("text"), str):
        return "text", "is missing", "say what to greet with"
    return None


def apply_system(host, settings):
    """Once, for the system that all nodes share."""
    host.ask("write", path="/etc/motd", contents=settings["text"] + "\n")


def apply_node(host, node):
    """Once for each node: what it alone gets."""
    host.ask("append", path="/etc/motd", contents=f"This is {node['name']}.\n")


def main(host):
    call = json.loads(host.lines.readline())
    if call["call"] == "describe":
        host.ask(**DESCRIPTION)
    elif call["call"] == "check":
        wrong = check(call["settings"])
        if wrong:
            key, message, hint = wrong
            host.send(op="fail", kind="setting", key=key, message=message, hint=hint)
            return
    elif call["call"] == "apply-system":
        apply_system(host, call["settings"])
    elif call["call"] == "apply-node":
        apply_node(host, call["node"])
    host.send(op="done")


if __name__ == "__main__":
    main(Host())
