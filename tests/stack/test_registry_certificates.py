"""Which certificates the registry's client loads."""

from __future__ import annotations

import pytest

from triplane.stack.registry import certificates_for


def test_certificates_are_loaded_where_https_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(url: str) -> int:
        return certificates_for(url).cert_store_stats()["x509_ca"]

    assert known("http://registry.example:8080") == 0
    assert known("https://registry.example") > 0
    monkeypatch.setenv("HTTP_PROXY", "https://proxy.example")
    monkeypatch.setenv("http_proxy", "https://proxy.example")
    assert known("http://registry.example:8080") > 0
