"""Checks of the server: its port, its answer, its parts, its health."""

from __future__ import annotations

import socket

import grpc

from rag.v1.admin_service_pb2 import GetServerInfoResponse
from ragctl.connection import Address
from ragctl.errors import UNREACHABLE, from_rpc
from ragctl.findings import Finding, Level
from ragctl.output import one_line
from ragctl.server_commands import SERVICES, SERVING, check_health, server_info

CONNECT_TIMEOUT_S = 2.0
CALL_TIMEOUT_S = 5.0


def is_listening(address: Address) -> bool:
    """Return whether something accepts connections at the address."""
    try:
        with socket.create_connection((address.host, address.port), timeout=CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def check_server(
    channel: grpc.Channel, address: Address
) -> tuple[list[Finding], GetServerInfoResponse | None]:
    """Look who has the port, and whether the server answers. Return its answer too, None without one."""
    if not is_listening(address):
        start = "start one with `ragctl serve`" if address.is_loopback else "look at that machine"
        port = Finding("port", Level.OK, f"{address} is free")
        if not address.is_loopback:
            port = Finding("port", Level.WARN, f"nothing accepts connections at {address}", start)
        return [port, Finding("server", Level.WARN, f"no server answers at {address}", start)], None
    try:
        response = server_info(channel, CALL_TIMEOUT_S)
    except grpc.RpcError as error:
        problem = from_rpc(error)
        is_foreign = problem.reason in (UNREACHABLE, grpc.StatusCode.UNIMPLEMENTED.name)
        port = Finding(
            "port",
            Level.FAIL if is_foreign else Level.OK,
            f"{address} is taken by {'another program' if is_foreign else 'rag-server'}",
            "choose another with `ragctl serve --port`, and --server" if is_foreign else "",
        )
        server = Finding(
            "server",
            Level.FAIL,
            f"no rag-server answers: {problem.reason}: {one_line(problem.message)}",
            "look at the program that listens there" if is_foreign else "look at the server's log",
        )
        return [port, server], None
    return [
        Finding("port", Level.OK, f"{address} is rag-server's"),
        Finding("server", Level.OK, f"version {one_line(response.version)}, {_load(response)}"),
        *_parts(response),
    ], response


def _load(response: GetServerInfoResponse) -> str:
    return f"{response.unfinished_job_count} unfinished jobs"


def _parts(response: GetServerInfoResponse) -> list[Finding]:
    return [
        Finding(f"part {one_line(each.name)}", Level.OK, "works")
        if each.is_serving
        else Finding(f"part {one_line(each.name)}", Level.FAIL, "down", "look at the server's log")
        for each in response.components
    ]


def check_services(channel: grpc.Channel) -> Finding:
    """Look whether each service of the contract serves."""
    try:
        states = {name: check_health(channel, name, CALL_TIMEOUT_S) for name in ("", *SERVICES)}
    except grpc.RpcError as error:
        return Finding(
            "health", Level.FAIL, f"no answer: {from_rpc(error).reason}", "look at the server's log"
        )
    bad = [f"{name or '(server)'} {state}" for name, state in states.items() if state != SERVING]
    if bad:
        return Finding(
            "health", Level.FAIL, "; ".join(bad), "look at the parts above and at the server's log"
        )
    return Finding("health", Level.OK, f"all {len(SERVICES)} services serve")
