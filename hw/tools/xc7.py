"""A private installation of the Artix-7 tools: the needed parts of Debian's packages, linked to their own libraries."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hw.build.errors import BuildError
from hw.build.tools import Console, require, run

from .archive import Archive, default_uri, sha256, verify
from .pins import XC7, Pin

RECORD = "installed.json"
ARCHITECTURE, TRIPLET, LOADER = "amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"
PROGRAMS = ("nextpnr-himbaechel-xilinx", "xc7frames2bit", "bitread")
LIBRARIES = Path("usr", "lib", TRIPLET)
CHIPDB = Path("usr", "share", "nextpnr", "himbaechel", "xilinx")
DATABASE = Path("usr", "share", "prjxray", "database")
DIES = ("xc7a50t", "xc7a100t")
PARTS = ("xc7a35t", *DIES)
LIMIT = 300.0  # seconds to unpack one package or patch one program


def kept(path: Path) -> bool:
    """Whether a file of the packages, by its path below the root, belongs into the prefix."""
    if path.parent == Path("usr", "bin"):
        return path.name in PROGRAMS
    if path.parent == CHIPDB:
        return path.name in {f"chipdb-{die}.bin" for die in DIES}
    if path.parent == DATABASE / "artix7":
        return path.name.startswith(("segbits_", "ppips_")) and "origin_info" not in path.name
    if path.parent.parent == DATABASE / "artix7":
        return path.name in ("tilegrid.json", "part.yaml") and path.parent.name.startswith(PARTS)
    if path.parts[:2] == ("usr", "lib") and path.parts[2].startswith("python3"):
        return path.suffix == ".py"  # the router starts the Python inside it, which needs its library
    return path.parent == LIBRARIES and ".so" in path.name


def packages(prefix: Path) -> dict[str, str]:
    """Name and version of the packages installed in `prefix`; empty if it is no installation."""
    try:
        return dict(json.loads((prefix / RECORD).read_text())["packages"])
    except (OSError, ValueError, KeyError):
        return {}


def current(prefix: Path, pins: Sequence[Pin] = XC7) -> bool:
    """Whether the prefix holds exactly the pinned packages."""
    return packages(prefix) == {pin.name: pin.version for pin in pins}


def install(prefix: Path, console: Console, *, uri: str | None, latest: bool, pins: Sequence[Pin] = XC7) -> None:
    """Install into `prefix`, which appears complete or stays as it was; logs go to `PREFIX-logs`.

    Raises `BuildError` when the machine, the archive or a tool cannot do it, or the prefix is someone else's folder.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise BuildError(f"the Artix-7 tools are installed on x86_64 Linux only, not on {platform.machine()}")
    prefix = prefix.expanduser().absolute()
    if prefix.exists() and not packages(prefix) and (not prefix.is_dir() or any(prefix.iterdir())):
        raise BuildError(f"{prefix} exists and is no installation of these tools; choose an empty --prefix")
    patchelf = require("patchelf")
    uri = uri or default_uri()
    logs = prefix.with_name(f"{prefix.name}-logs")
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{prefix.name}-", dir=prefix.parent) as folder:
            work, root = Path(folder), Path(folder, "root")
            files = _fetch(Archive(uri, ARCHITECTURE, work / "apt", logs), console, pins, latest)
            with console.stage("unpack", f"{len(files)} packages"):
                for file in files:
                    _unpack(file, work / "package", root, logs)
                _link(root, prefix, patchelf, logs)
            names = {pin.name for pin in pins}
            _finish(root, [file for file in files if file.name.split("_")[0] in names], files)
            _replace(root, prefix)
    except OSError as error:
        raise BuildError(f"cannot install into {prefix}: {error.strerror or error}") from None


def _fetch(archive: Archive, console: Console, pins: Sequence[Pin], latest: bool) -> list[Path]:
    with console.stage("update", "list of packages"):
        archive.update()
    wanted = archive.choose(pins, latest)
    with console.stage("fetch", "packages"):
        files = archive.fetch(wanted)
    if not latest:
        verify(files, pins)
    return files


def _unpack(file: Path, scratch: Path, root: Path, logs: Path) -> None:
    """Move the kept files of a package to `root`; links stay links."""
    run(["dpkg-deb", "--extract", str(file), str(scratch)], cwd=file.parent, log=logs / "unpack.log", limit=LIMIT)
    for path in sorted(scratch.rglob("*")):
        inside = path.relative_to(scratch)
        if (path.is_symlink() or path.is_file()) and kept(inside):
            (root / inside).parent.mkdir(parents=True, exist_ok=True)
            path.replace(root / inside)
    shutil.rmtree(scratch)


def _link(root: Path, prefix: Path, patchelf: str, logs: Path) -> None:
    """Make the programs run with the libraries beside them, once at `prefix`; drop libraries nobody needs."""
    for program in PROGRAMS:
        path = root / "usr" / "bin" / program
        if not path.is_file():
            raise BuildError(f"the packages have no program {program}")
        # The loader's path must be absolute; libraries are found relative to the program.
        interpreter = prefix / LIBRARIES / LOADER
        options = ["--set-interpreter", str(interpreter), "--force-rpath", "--set-rpath", f"$ORIGIN/../lib/{TRIPLET}"]
        run([patchelf, *options, str(path)], cwd=root, log=logs / "patchelf.log", limit=LIMIT)
    needed, queue = {LOADER}, [root / "usr" / "bin" / program for program in PROGRAMS]
    while queue:
        for name in _needed(patchelf, queue.pop()):
            if name not in needed:
                needed.add(name)
                queue.append(root / LIBRARIES / name)
    needed |= {(root / LIBRARIES / name).resolve().name for name in needed}
    for path in (root / LIBRARIES).iterdir():
        if path.name not in needed:
            path.unlink()


def _needed(patchelf: str, path: Path) -> list[str]:
    """Names of the libraries that a program or library is linked with."""
    if not path.exists():
        raise BuildError(f"the packages lack the library {path.name}")
    output = subprocess.run([patchelf, "--print-needed", str(path)], capture_output=True, text=True, check=False)
    if output.returncode:
        raise BuildError(f"patchelf cannot read {path.name}: {output.stderr.strip()}")
    return output.stdout.split()


def _finish(root: Path, tools: Sequence[Path], files: Sequence[Path]) -> None:
    """Write what was installed: versions of the tools, digests of all files they came from."""
    versions = {name: version for name, version, _ in (file.stem.replace("%3a", ":").split("_") for file in tools)}
    content = {"packages": versions, "files": {file.name: sha256(file) for file in files}}
    (root / RECORD).write_text(json.dumps(content, indent=2) + "\n")


def _replace(root: Path, prefix: Path) -> None:
    """Put `root` in the place of an older installation."""
    if prefix.exists():
        prefix.rename(root.with_name("old"))
    os.chmod(root, 0o755)
    root.rename(prefix)
