"""`python -m sw` as a process of its own: without the packages it does not need, and with its output closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sw.samples import fill


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    fill(folder)
    return folder


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


WITHOUT_TORCH = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sklearn", "matplotlib", "amaranth", "PIL"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from sw.cli import main
sys.exit(main(sys.argv[1:] or ARGUMENTS))
"""


@pytest.mark.parametrize(("arguments", "status", "out", "err"), [
    (["run", "compiled.abacus", "images.npy"], 0, "0: class ", ""),
    (["info", "model.abacus"], 0, "cycles per image", ""),
    (["run", "compiled.abacus", "images.npy", "--check"], 2, "", "the package torch: pip install 'abacus-fpga[train]'"),
    (["train"], 2, "", "this needs the package torch"),
    (["run", "compiled.abacus", "x.png"], 2, "", "PNG files need Pillow"),
])
def test_the_driver_needs_no_torch(folder: Path, arguments: list[str], status: int, out: str, err: str) -> None:
    done = _python(WITHOUT_TORCH.replace("ARGUMENTS", repr(arguments)), folder)
    assert done.returncode == status, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr


def test_output_into_a_closed_pipe(folder: Path) -> None:
    code = """
import subprocess, sys
command = [sys.executable, "-m", "sw", "info", "model.abacus"]
process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
process.stdout.close()
print(process.stderr.read().decode(), process.wait())
"""
    assert _python(code, folder).stdout == " 1\n"
