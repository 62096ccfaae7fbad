"""Imports fall; floor 0 needs the standard library alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCH = sorted((ROOT / "hw" / "arch").glob("*.py"))


def test_imports_fall():
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", ARCH, ids=lambda p: p.name)
def test_floor_0_imports_the_standard_library_and_itself(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names), ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            own = node.level == 1 or (node.level == 0 and node.module.startswith("hw.arch"))
            assert own or node.module.split(".")[0] in sys.stdlib_module_names, ast.unparse(node)


@pytest.mark.parametrize("module", ["boards", "hw.arch.config", "sw"])
def test_light_imports_pull_no_heavy_library(module):
    code = f"import {module}, sys; print(sorted({{'torch', 'amaranth', 'cocotb'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


def test_build_command_needs_no_torch():
    code = "import hw.build.cli, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr
