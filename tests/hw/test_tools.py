"""`python -m hw.tools`: a made-up Debian package set through the real unpacker and patcher, and every refusal."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hw.build.errors import BuildError
from hw.build.tools import find
from hw.tools import archive as archive_module
from hw.tools import xc7
from hw.tools.archive import Archive, default_uri, sha256, verify
from hw.tools.cli import main
from hw.tools.pins import XC7, Pin
from tests.hw.small import script

LIBRARIES = Path("usr/lib", xc7.TRIPLET)
linux = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or find("patchelf") is None or not Path("/lib64", xc7.LOADER).exists(),
    reason="needs dpkg-deb, patchelf and x86_64 Linux",
)


def deb(folder, name, files):
    """A Debian package of the files {path: content or source path}, as (path, pin)."""
    tree = folder / name
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copy(content, tree / path)
        else:
            (tree / path).write_text(content)
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: test\n"
    )
    path = folder / f"{name}_1.0-1_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(path)], check=True, capture_output=True)
    return path, Pin(name, "1.0-1", sha256(path))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages behind a stand-in for the archive; gives their pins."""
    loader = Path("/lib64", xc7.LOADER).resolve()
    libc = loader.with_name("libc.so.6")
    made = [
        deb(tmp_path, "tool", {
            **{f"usr/bin/{program}": Path("/bin/true") for program in xc7.PROGRAMS}, "usr/bin/other": "x",
            "usr/share/nextpnr/himbaechel/xilinx/chipdb-xc7a50t.bin": "chip",
            "usr/share/nextpnr/himbaechel/xilinx/chipdb-xc7z020.bin": "unused",
            "usr/share/prjxray/database/artix7/segbits_int_l.db": "bits",
            "usr/share/prjxray/database/artix7/mask_int_l.db": "unused",
            "usr/share/prjxray/database/artix7/xc7a35tcsg324-1/part.yaml": "part",
            "usr/share/prjxray/database/artix7/xc7a50t/tilegrid.json": "{}",
            "usr/share/prjxray/database/zynq7/segbits_int_l.db": "unused",
        }),
        deb(tmp_path, "libs", {
            LIBRARIES / xc7.LOADER: loader, LIBRARIES / "libc.so.6": libc, LIBRARIES / "libunused.so.1": "x",
            "usr/lib/python3.14/encodings.py": "x", "usr/lib/python3.14/lib-dynload/a.so": "x",
        }),
    ]
    monkeypatch.setattr(Archive, "update", lambda self: None)
    monkeypatch.setattr(Archive, "versions", lambda self, name: ("1.0-1",))
    monkeypatch.setattr(Archive, "fetch", lambda self, wanted: [path for path, _ in made])
    monkeypatch.setattr(archive_module, "KEYRING", Path("/dev/null"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ABACUS_XC7_PREFIX", raising=False)
    pins = (made[0][1],)
    monkeypatch.setattr(xc7.install, "__kwdefaults__", {"pins": pins})
    monkeypatch.setattr(xc7.current, "__defaults__", (pins,))
    return pins


@linux
@pytest.mark.usefixtures("packages")
def test_only_the_needed_parts_are_installed_and_run(tmp_path, monkeypatch, capsys):
    command = ["install", "xc7", "--archive", "file:///nowhere"]
    assert main(command) == 0
    prefix = tmp_path / "cache" / "abacus" / "xc7"
    files = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    assert files == {
        "installed.json", *(f"usr/bin/{program}" for program in xc7.PROGRAMS),
        "usr/share/nextpnr/himbaechel/xilinx/chipdb-xc7a50t.bin", "usr/lib/python3.14/encodings.py",
        *(f"usr/share/prjxray/database/artix7/{name}" for name in (
            "segbits_int_l.db", "xc7a35tcsg324-1/part.yaml", "xc7a50t/tilegrid.json",
        )),
        str(LIBRARIES / xc7.LOADER), str(LIBRARIES / "libc.so.6"),
    }
    monkeypatch.setenv("PATH", "/nonexistent")
    tool = find("xc7frames2bit")
    assert tool == str(prefix / "usr" / "bin" / "xc7frames2bit")
    listing = subprocess.run([prefix / LIBRARIES / xc7.LOADER, "--list", tool], capture_output=True, text=True)
    assert str(prefix / "usr") in listing.stdout  # its own C library, not the system's
    assert subprocess.run([tool]).returncode == 0
    content = json.loads((prefix / "installed.json").read_text())
    assert content["packages"] == {"tool": "1.0-1"}
    assert len(content["files"]) == 2
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["xc7", "xc7-logs"]
    capsys.readouterr()
    assert main(command) == 0  # neither dpkg-deb nor apt is on PATH: nothing is done twice
    assert "holds the pinned Artix-7 tools already" in capsys.readouterr().out


@linux
def test_changed_content_is_refused_and_the_old_installation_stays(tmp_path, packages, monkeypatch, capsys):
    assert main(["install", "xc7", "--archive", "file:///nowhere"]) == 0
    changed = Pin(packages[0].name, packages[0].version, "0" * 64)
    monkeypatch.setattr(xc7.install, "__kwdefaults__", {"pins": (changed,)})
    monkeypatch.setattr(xc7, "current", lambda prefix: False)
    monkeypatch.setattr("hw.tools.cli.current", lambda prefix: False)
    capsys.readouterr()
    assert main(["install", "xc7", "--archive", "file:///nowhere"]) == 1
    digests = f"{'0' * 64}, not {packages[0].sha256}"
    assert capsys.readouterr().err == (
        f"hw.tools: tool_1.0-1_amd64.deb must have SHA-256 {digests}; nothing was installed\n"
    )
    assert (tmp_path / "cache" / "abacus" / "xc7" / "installed.json").exists()
    # --latest takes the content that is there.
    assert main(["install", "xc7", "--archive", "file:///nowhere", "--latest"]) == 0


def test_a_pin_that_is_gone_and_latest(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "KEYRING", Path("/dev/null"))
    script(tmp_path / "apt-cache", "#!/bin/sh\nfor last; do :; done\n"
           "[ $last = gone ] || echo \" $last | 2.0-1 | http://x sid/main amd64 Packages\"\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    archive = Archive("file:///x", "amd64", tmp_path / "apt", tmp_path / "logs")
    pins = [Pin("tool", "1.0-1", "0")]
    with pytest.raises(BuildError, match=r"^Debian's suite sid now has tool 2.0-1, not the pinned 1.0-1; --latest "):
        archive.choose(pins, latest=False)
    assert archive.choose(pins, latest=True) == ["tool=2.0-1"]
    with pytest.raises(BuildError, match=r"^suite sid of file:///x has no package gone$"):
        archive.choose([Pin("gone", "1", "0")], latest=True)
    text = (tmp_path / "apt" / "apt.conf").read_text()
    written = [line for line in text.splitlines() if line.startswith("Dir::") and "/dev/null" not in line]
    assert len(written) == 5
    assert all(str(tmp_path) in line or line.endswith('"archives/";') for line in written)


def test_a_missing_package_file_is_refused(tmp_path):
    with pytest.raises(BuildError, match="^the archive sent 0 files of package tool, not 1$"):
        verify([tmp_path / "tool-chipdb_1_all.deb"], [Pin("tool", "1", "0")])


@pytest.mark.parametrize(("lines", "expected"), [
    (["http://other|nodistro|main", "http://a/debian-security/|Debian-Security|main", "http://a/debian/|Debian|main"],
     "http://a/debian/"),
    (["http://a/debian-security/||main", "http://a/debian/||contrib", "http://a/debian/||main"], "http://a/debian/"),
    (["http://a/ubuntu/|Ubuntu|main"], None),
    ([], None),
])
def test_the_machines_own_archive_is_used(tmp_path, monkeypatch, lines, expected):
    body = "\n".join(f"echo '{line}'" for line in lines)
    script(tmp_path / "apt-get", f"#!/bin/sh\n{body}\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if expected is None:
        with pytest.raises(BuildError, match="^apt on this machine uses no Debian archive; name one with --archive$"):
            default_uri()
    else:
        assert default_uri() == expected


def test_no_apt_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["install", "xc7", "--prefix", str(tmp_path / "p")]) == 1
    err = capsys.readouterr().err
    assert err == "hw.tools: apt-get was not found: only Debian machines can install these tools by themselves\n"
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_is_never_replaced(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert main(["install", "xc7", "--prefix", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"hw.tools: {tmp_path} exists and is no installation of these tools; choose an empty --prefix\n"
    )
    assert (tmp_path / "mine").exists()


def test_a_failing_apt_is_quoted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archive_module, "KEYRING", Path("/dev/null"))
    script(tmp_path / "apt-get", "#!/bin/sh\necho 'E: Failed to fetch http://x/InRelease'; exit 100\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    prefix = tmp_path / "p" / "xc7"
    assert main(["install", "xc7", "--prefix", str(prefix), "--archive", "file:///nowhere"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("hw.tools: apt-get failed with exit status 100: E: Failed to fetch http://x/InRelease; ")
    assert err.count("\n") == 1
    assert [path.name for path in prefix.parent.iterdir()] == ["xc7-logs"]


def test_if_missing_does_nothing_where_all_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hw.build.xc7.XC7.missing", lambda self: [])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["install", "xc7", "--if-missing", "--prefix", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "the Artix-7 tools are here already\n"


def test_list(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XC7FRAMES2BIT", "/nonexistent/tool")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "xc7frames2bit               not found; get it from python -m hw.tools install xc7" in lines
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(lines)
    assert rows[0]["tool"] == "yosys" and Path(rows[0]["path"]).exists()


@pytest.mark.parametrize("arguments", [[], ["install"], ["install", "ise"], ["remove"]])
def test_misuse_is_one_sentence(capsys, arguments):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_pins_are_well_formed():
    assert len({pin.name for pin in XC7}) == len(XC7) == 4
    assert all(len(pin.sha256) == 64 and pin.sha256 == pin.sha256.lower() for pin in XC7)
