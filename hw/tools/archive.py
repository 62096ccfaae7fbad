"""Packages of Debian's suite sid, fetched with apt but without root and without touching the system's own state."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hw.build.errors import BuildError
from hw.build.tools import run

from .pins import Pin

SUITE = "sid"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UPDATE_LIMIT, FETCH_LIMIT = 600.0, 1800.0  # seconds

# Everything apt writes goes below {root}; hooks of the system's configuration would act on the system.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Default-Release "";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Debug::NoLocking "true";
Dir::State "{root}/state";
Dir::State::status "/dev/null";
Dir::Cache "{root}/cache";
Dir::Cache::archives "archives/";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{root}/log";
"""


def default_uri() -> str:
    """Address of the Debian archive that this machine's apt uses; `BuildError` if it uses none."""
    if shutil.which("apt-get") is None:
        raise BuildError("apt-get was not found: only Debian machines can install these tools by themselves")
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)|$(COMPONENT)"],
        capture_output=True, text=True, check=False,
    ).stdout
    entries = [line.split("|") for line in output.splitlines()]
    # A machine that never ran `apt-get update` knows no labels yet.
    for wanted in ("Debian", ""):
        for uri, label, component in entries:
            if label == wanted and component == "main" and uri.rstrip("/").endswith("/debian"):
                return uri
    raise BuildError("apt on this machine uses no Debian archive; name one with --archive")


class Archive:
    """Suite sid of the archive at `uri`; all files live below the folder `root`, logs in `logs`."""

    def __init__(self, uri: str, architecture: str, root: Path, logs: Path) -> None:
        self.uri = uri
        self.root = root.resolve()
        self.logs = logs
        self.options = ["-c", str(self.root / "apt.conf")]
        if not KEYRING.exists():
            raise BuildError(f"{KEYRING} was not found; it is in Debian's package debian-archive-keyring")
        for folder in ("state/lists/partial", "cache/archives/partial", "log"):
            (self.root / folder).mkdir(parents=True)
        text = CONFIGURATION.format(root=self.root, architecture=architecture)
        (self.root / "apt.conf").write_text(text)
        (self.root / "sources.list").write_text(f"deb [signed-by={KEYRING}] {uri} {SUITE} main\n")

    def update(self) -> None:
        """Fetch and authenticate the suite's list of packages."""
        command = ["apt-get", *self.options, "-q", "update"]
        run(command, cwd=self.root, log=self.logs / "update.log", limit=UPDATE_LIMIT)

    def versions(self, name: str) -> tuple[str, ...]:
        """Versions of a package in the suite."""
        command = ["apt-cache", *self.options, "madison", name]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return tuple(line.split("|")[1].strip() for line in output.splitlines() if line.count("|") == 2)

    def choose(self, pins: Sequence[Pin], latest: bool) -> list[str]:
        """What to fetch, as apt writes it: the pinned versions, or with `latest` whatever the suite has.

        Raises `BuildError` if a package, or its pinned version, is no longer there.
        """
        wanted = []
        for pin in pins:
            versions = self.versions(pin.name)
            if not versions:
                raise BuildError(f"suite {SUITE} of {self.uri} has no package {pin.name}")
            if not latest and pin.version not in versions:
                raise BuildError(
                    f"Debian's suite {SUITE} now has {pin.name} {versions[0]}, not the pinned {pin.version}; "
                    "--latest takes what is there"
                )
            wanted.append(f"{pin.name}={versions[0] if latest else pin.version}")
        return wanted

    def fetch(self, wanted: Sequence[str]) -> list[Path]:
        """Files of the packages and of all they depend on, each checked by apt against the signed list."""
        command = ["apt-get", *self.options, "-q", "--download-only", "install", *wanted]
        run(command, cwd=self.root, log=self.logs / "fetch.log", limit=FETCH_LIMIT)
        return sorted((self.root / "cache" / "archives").glob("*.deb"))


def verify(files: Sequence[Path], pins: Sequence[Pin]) -> None:
    """`BuildError` unless the file of every pinned package is there and has the pinned content."""
    for pin in pins:
        found = [path for path in files if path.name.startswith(f"{pin.name}_")]
        if len(found) != 1:
            raise BuildError(f"the archive sent {len(found)} files of package {pin.name}, not 1")
        if (digest := sha256(found[0])) != pin.sha256:
            raise BuildError(f"{found[0].name} must have SHA-256 {pin.sha256}, not {digest}; nothing was installed")


def sha256(path: Path) -> str:
    """Digest of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
