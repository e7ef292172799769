"""The processes that every home runs, whatever is deployed: collector, analyzer, operator, gateway."""

from __future__ import annotations

import sys

from seamark_local.envoy import command
from seamark_local.home import Home
from seamark_local.store import Process

__all__ = ["fixed_processes"]


def fixed_processes(home: Home, admin_port: int) -> tuple[Process, ...]:
    """admin_port: Envoy's own, on loopback; the port that users call is in Envoy's start-up file."""
    data = ("--data", str(home.data))
    config = ("--config", str(home.analyzer_config))
    return (
        Process("collector", _module("seamark_collector", *data, "--port", "{port}"), ready="/readyz"),
        Process("analyzer", _module("seamark_analyzer", *data, *config, "--port", "{port}"), ready="/readyz"),
        Process("operator", _module("seamark_local.operator", "--home", str(home.root))),
        Process("gateway", command(home.root), port=admin_port, ready="/ready"),
    )


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)
