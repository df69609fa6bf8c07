"""Shared fixtures. A test that takes `name` runs once for every registered implementation."""

from __future__ import annotations

import os

# Operations here are small: a second thread gains little and, beside the two workers, waits for the first one's core
# (measured on two busy cores: five times slower). Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from refimpl import registry


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        # Session scope makes pytest run all tests of one method together, so what they share is computed once.
        metafunc.parametrize("name", list(registry.methods()), scope="session")


def pytest_configure(config):
    config.addinivalue_line("markers", "last: runs after all other tests")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def workers(tmp_path_factory):
    """Two processes that wait for work, started once and shared by all tests that need them."""
    from two_processes.pair import Pair

    pair = Pair(tmp_path_factory.mktemp("workers"))
    yield pair
    pair.close()


@pytest.fixture(scope="session", autouse=True)
def workers_ahead(request):
    """Starts them with the session if any test will ask: they import torch while other tests run."""
    if any("workers" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("workers").start()
