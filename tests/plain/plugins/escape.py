#!/usr/bin/env python3
"""A plugin that tries to reach the host, and says what came of each try as the error with which it gives up."""

import ctypes
import errno
import json
import os
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
X32 = 0x40000000


def call(number, *arguments):
    """A system call, by its number on x86-64."""
    result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def clone(flags):
    if call(56, flags | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()


def connect(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as end:
        end.connect(path)


def send_by_pair(path):
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", path)


def read(path):
    with open(path, "rb") as file:
        if not file.read(100):
            raise OSError(errno.ENODATA, "")


def write(path):
    with open(path, "w") as file:
        file.write("x")


def device(name):
    os.close(os.open("/dev/" + name, os.O_RDWR | os.O_NONBLOCK))


def pair():
    one, other = socket.socketpair()
    one.send(b"x")
    other.recv(1)


def tries(given):
    new_user, new_mounts = 0x10000000, 0x00020000
    yield "core_pattern", lambda: write("/proc/sys/kernel/core_pattern")
    yield "sysrq", lambda: write("/proc/sysrq-trigger")
    for name in ["kmsg", "loop-control", "net/tun", "kvm", "fuse", "vsock", "mem", "tty", "mapper/control"]:
        yield "/dev/" + name, lambda name=name: device(name)
    for name in ["null", "zero", "full", "random", "urandom"]:
        yield "/dev/" + name, lambda name=name: device(name)
    for name, path in given.get("sockets", {}).items():
        yield "connect " + name, lambda path=path: connect(path)
        yield "send " + name, lambda path=path: send_by_pair(path)
    for name, path in given.get("fifos", {}).items():
        yield "fifo " + name, lambda path=path: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    for name, path in given.get("read", {}).items():
        yield "read " + name, lambda path=path: read(path)
    for name, path in given.get("write", {}).items():
        yield "write " + name, lambda path=path: write(path)
    yield "write temporary", lambda: write(os.environ["TMPDIR"] + "/x")
    yield "socketpair", pair
    yield "fork", lambda: clone(0)
    yield "inet", lambda: socket.socket(socket.AF_INET)
    yield "vsock", lambda: socket.socket(40, socket.SOCK_STREAM)
    yield "netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    yield "mount", lambda: call(165, 0, 0, 0, 0, 0)
    yield "fsopen", lambda: call(430, 0, 0)
    yield "open_tree", lambda: call(428, -100, 0, 0)
    yield "chroot", lambda: os.chroot("/usr")
    yield "unshare", lambda: call(272, new_user)
    yield "unshare mounts", lambda: call(272, new_mounts)
    yield "clone", lambda: clone(new_user)
    yield "clone3", lambda: call(435, 0, 0)
    yield "setns", lambda: call(308, 0, 0)
    yield "unshare x32", lambda: call(X32 | 272, new_user)
    yield "keyctl", lambda: call(250, 0, -3, 0)
    yield "add_key", lambda: call(248, 0, 0, 0, 0, 0)
    yield "request_key", lambda: call(249, 0, 0, 0, 0)
    yield "io_uring", lambda: call(425, 1, 0)
    yield "bpf", lambda: call(321, 0, 0, 0)
    yield "perf", lambda: call(298, 0, 0, -1, -1, 0)
    yield "userfaultfd", lambda: call(323, 0)
    yield "ptrace", lambda: call(101, 0, 0, 0, 0)
    yield "ptrace x32", lambda: call(X32 | 521, 0, 0, 0, 0)
    yield "open_by_handle_at", lambda: call(304, 0, 0, 0)
    yield "syslog", lambda: call(103, 3, 0, 0)


def outcome(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok"


def found(given):
    result = {name: outcome(what) for name, what in tries(given)}
    result["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
    result["dev"] = " ".join(sorted(os.listdir("/dev")))
    result["root"] = " ".join(sorted(os.listdir("/")))
    with open("/proc/self/oom_score_adj") as adjustment:
        result["oom"] = adjustment.read().strip()
    with open("/proc/self/status") as status:
        fields = dict(line.split(":\t") for line in status.read().splitlines() if ":\t" in line)
    result |= {name: fields[name] for name in ["NoNewPrivs", "Seccomp"]}
    return json.dumps(result)


def main():
    if len(sys.argv) > 1:
        # For a library, which has started this.
        print(found(json.loads(sys.argv[1])))
        return
    message = json.loads(sys.stdin.readline())
    given = json.loads(message["settings"].get("given", "{}"))
    # Settings are checked before anything is built; at which stage it is tried, the settings say.
    if message["call"] == "describe":
        answer = {"op": "describe", "name": "escape", "summary": "tries to get out", "stages": ["system", "node"]}
        print(json.dumps(answer), flush=True)
        sys.stdin.readline()
    elif message["call"] == message["settings"].get("at", "check"):
        print(json.dumps({"op": "fail", "message": found(given)}), flush=True)
        return
    print('{"op":"done"}', flush=True)


main()
