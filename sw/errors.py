"""Everything that can go wrong between a user's files, a link and a device, as exception types.

Each message is one sentence that names the thing, what was allowed and what was found. The command line prints the
message alone; programs catch `AbacusError` or one of its kinds.
"""

from __future__ import annotations


class AbacusError(Exception):
    """Base of all errors that a user can cause or cure."""


class ArtifactError(AbacusError):
    """A model file that cannot be read, is damaged, or does not hold what it says."""


class DataError(AbacusError):
    """A data set that is missing or damaged."""


class ImageError(AbacusError):
    """Images that cannot be read or do not have the shape and type that the model takes."""


class LinkError(AbacusError):
    """A link that cannot be opened or has gone: bad URL, no such port, no permission, in use, unplugged."""


class NoReply(LinkError):
    """The other end of the link stayed silent, or sent nothing that is a valid frame, through all retries."""


class DeviceError(AbacusError):
    """A device that answers, but not as it should."""


class Mismatch(DeviceError):
    """Another design, protocol or configuration than the program needs; nothing was written."""


class Refused(DeviceError):
    """The device refused a request.

    Members
    -------
    refusal : wire.Refusal
    """

    def __init__(self, message: str, refusal: object) -> None:
        super().__init__(message)
        self.refusal = refusal


class Faulted(DeviceError):
    """The program stopped with a fault.

    Members
    -------
    fault : isa.Fault
    address : int, program counter of the fault
    """

    def __init__(self, message: str, fault: int, address: int) -> None:
        super().__init__(message)
        self.fault = fault
        self.address = address


class DeviceReset(DeviceError):
    """The device lost its memories (reset, power, new bitstream) since the session began."""
