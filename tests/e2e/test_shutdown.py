"""Stopping the services: named so that it runs after the tests that use them."""

import psutil
import pytest

pytestmark = pytest.mark.e2e


def test_services_stop_on_sigterm_and_leave_nothing_behind(services):
    main = psutil.Process(services.process.pid)
    family = main.children(recursive=True)
    assert len(family) >= 4
    services.process.terminate()
    services.process.wait(60)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
