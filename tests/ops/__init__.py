"""Tests of the scripts in ops/."""
