"""What builds the chart's tools has to be new enough, which is said before anything is built."""

import os
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[3] / "scripts" / "chart"


@pytest.mark.parametrize("version", ["go1.19.8", "go1.25.9", ""])
def test_an_old_go_is_refused(tmp_path, version):
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run([SCRIPT, "install"], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "too old" in ran.stderr and version.removeprefix("go") in ran.stderr
    assert "installing" not in ran.stderr
