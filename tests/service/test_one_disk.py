"""The warning at the start: a guard beside its database is rolled back with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from api.serve import warn_of_one_disk


def test_one_disk_is_told_and_two_are_not(tmp_path: Path) -> None:
    """By the devices that the files lie on; /dev/shm is another one than any disk."""
    shared = Path("/dev/shm")  # noqa: S108 - looked at, never written
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system to compare with")
    with structlog.testing.capture_logs() as logs:
        warn_of_one_disk(tmp_path, shared)
        assert logs == []
        warn_of_one_disk(tmp_path / ".", tmp_path)
    assert [(line["event"], line["guard"]) for line in logs] == [("serve.guard-on-the-same-disk", str(tmp_path))]
