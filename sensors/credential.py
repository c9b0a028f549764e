"""What an agent got when it was paired: its account, and how it knows its hub again. A file for its eyes alone."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from appliance import private_file
from appliance.encoding import from_json, to_json
from sensors import data_dir

MAX_FILE_BYTES = 131_072
PAIR = "pair anew with `sensors pair`"


class CredentialError(Exception):
    """The file cannot be used or written; never shows what is in it."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        """One line with the cure."""
        return f"{self.problem}; {self.cure}"


class Credential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As whom, where, and which certificate is the right one."""

    username: Annotated[str, Meta(min_length=1)]
    secret: Annotated[str, Meta(min_length=1)]
    address: Annotated[str, Meta(min_length=1, max_length=253)]  # where the hub was when we were paired
    port: Annotated[int, Meta(ge=1, le=65_535)]  # of MQTT over TLS
    name: Annotated[str, Meta(min_length=1, max_length=253)]  # in the hub's certificate
    has_ca: bool = True  # in the file beside; else the system's authorities count
    topics: tuple[str, ...] = ()  # that were granted


def read(path: Path) -> Credential | None:
    """Read the file; None where there is none. CredentialError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise CredentialError(problem, "run as the user of the agent, or with sudo") from None
    try:
        return from_json(text, Credential)
    except msgspec.DecodeError:
        raise CredentialError(f"{path} holds no credential", PAIR) from None


def write(path: Path, credential: Credential, ca_path: Path, ca: str) -> None:
    """Write both files, each whole or not at all, the credential last. CredentialError."""
    try:
        data_dir.make(path.parent)
        if ca:
            private_file.write(ca_path, ca.encode())
        private_file.write(path, msgspec.json.format(to_json(credential), indent=2) + b"\n")
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror})"
        raise CredentialError(problem, "run as the user of the agent, or with sudo") from None
