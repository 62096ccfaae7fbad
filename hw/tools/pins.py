"""The packages of the Artix-7 tools that builds are tested with.

They decide routed results, so version and content are pinned. The C and C++ libraries they are linked with are not:
those move every few days, do not change results, and are authenticated by the archive's signature.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """A Debian package: name, version and the SHA-256 of its file."""

    name: str
    version: str
    sha256: str


XC7 = (
    Pin(
        "nextpnr-himbaechel-xilinx", "0.11.1+dfsg-5+b1",
        "ef632ec8e4b3656e954ec5b3d7c20b6dd9c45f48b2a16bb07ea120a74826bbeb",
    ),
    Pin(
        "nextpnr-himbaechel-xilinx-chipdb", "0.11.1+dfsg-5+b1",
        "6cd5f0e74365663fa4a3cce3a58e0587a2c469a742a11ba0d23a242646cb0626",
    ),
    Pin(
        "prjxray", "0.1+git3356.gc9f02d85+~db20211214.g0a0added-4",
        "eed7a57ff8d6444d71632526b1b8efba89c8c8b7163a0b178011ca1392d89d4a",
    ),
    Pin(
        "prjxray-database", "0.1+git3356.gc9f02d85+~db20211214.g0a0added-4",
        "9d310cf2ed5fa7758c70ba22df30a432ca5515d9a8330a62f11cfc95a9118467",
    ),
)
