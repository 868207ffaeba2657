"""A hub that cannot be reached is not waited for."""

from __future__ import annotations

import socket

import pytest
from huggingface_hub import constants

from contrasift.training import hub


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def refuse(*arguments):
    raise OSError("no route")


def test_out_of_reach_its_cache_alone_is_asked(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(KeyError, match="weights"), hub.without_waiting():
        assert constants.HF_HUB_OFFLINE
        raise KeyError("weights")
    assert not constants.HF_HUB_OFFLINE


def test_within_reach_nothing_changes(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.reachable()
        with hub.without_waiting():
            assert not constants.HF_HUB_OFFLINE


def test_behind_a_proxy_the_client_finds_out_by_itself(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert hub.reachable()
