"""Badges for tests: made by ops.demo_badges with openbadgeslib, and the real ones in the folder beside the repository.

The real ones are other people's files and are not committed. Where the folder is absent, tests that need it skip with
the reason, but under CI (the environment variable CI is set) they fail: there it has to be.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.demo_badges import (
    BadgeIssuer,
    bake,
    ob2_hosted,
    ob2_jws,
    ob3_json,
    ob3_jwt,
    ob3_png,
    png,
    samples,
    status_entry,
)

__all__ = [
    "SHARED_SAMPLES",
    "BadgeIssuer",
    "bake",
    "ob2_hosted",
    "ob2_jws",
    "ob3_json",
    "ob3_jwt",
    "ob3_png",
    "png",
    "samples",
    "shared_sample",
    "status_entry",
]

#: Real badges, `<repository>/../shared/samples`.
SHARED_SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"


def shared_sample(name: str) -> bytes:
    """The bytes of a real sample; skips where the folder is absent, and fails there under CI."""
    if not SHARED_SAMPLES.is_dir():
        reason = "the folder shared/samples beside the repository, with other people's badges, is absent"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return (SHARED_SAMPLES / name).read_bytes()
