"""The server's own certificate: when a new one is due, and for how long it is made.

Browsers of Apple refuse a certificate that is valid for more than 825 days in all, also of an authority that its
owner has installed. So half of the days lie behind: a computer whose clock is late by a year still takes it.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from appliance import private_file
from appliance.identity import authority as authorities
from appliance.identity.authority import EPOCH, Authority, begins, belong_together, ends, names_in
from appliance.identity.names import Names

AHEAD: Final = timedelta(days=397)
WHOLE: Final = timedelta(days=825)
DUE: Final = AHEAD / 3  # left


def due(certificate: Path, key: Path, authority: Authority, names: Names, now: datetime, *, is_set: bool) -> str:
    """Say why a new certificate is due; empty when it is not. OSError.

    `is_set` says whether `now` comes from a clock that somebody keeps right. One that nobody does makes nothing
    expire for good: what it led to is made again when it is set.
    """
    found, secret = authorities.read_certificate(certificate), authorities.read_key(key)
    if secret is None:
        return "its key cannot be used" if key.exists() else "there is no key for it yet"
    if found is None:
        return "there is none yet"
    if not belong_together(found, secret):
        return "it is not of this key"
    if not authority.has_issued(found):
        return "it is not of this authority"
    if missing := names.missing_in(names_in(found)):
        return f"it lacks {', '.join(missing)}"
    if is_set and begins(found) > now:
        return "it was made by a clock that was ahead"
    if is_set and ends(found) - begins(found) > WHOLE:
        return "it was made before the clock was set"
    left = ends(found) - now
    return f"it has {max(0, left.days)} days left" if left < DUE else ""


def make(certificate: Path, key: Path, authority: Authority, names: Names, now: datetime, *, is_set: bool) -> datetime:
    """Write a new certificate, and its key where there is none; gives its last moment. OSError.

    The key stays when the certificate is renewed: of the two only one file changes, and they always belong together.
    While nobody keeps the clock right, the certificate is valid from the beginning of all clocks. A computer that was
    renamed is still called what it was, too: by that name who was paired with it knows it.
    """
    before = authorities.read_certificate(certificate)
    if before is not None and authority.has_issued(before):
        names = names.after(names_in(before))
    secret = authorities.read_key(key)
    if secret is None:
        secret = authorities.new_key()
        private_file.write(key, authorities.key_pem(secret))
    end = min(now + AHEAD, ends(authority.certificate))
    begin = max(EPOCH, end - WHOLE) if is_set else EPOCH
    private_file.write(certificate, authority.issue(secret, names, begin, end))
    return end
