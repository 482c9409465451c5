"""A certificate authority of a test's own, and what it has signed for a server on 127.0.0.1."""

import subprocess
from pathlib import Path

DAYS = ("-days", "2")
NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Authority:
    """Makes `ca` in `folder`, and by `certify` a certificate and its key for names."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(
            "req", "-x509", *NEW_KEY, *DAYS, "-subj", f"/CN={name}",
            "-keyout", str(self._key), "-out", str(self.ca),
        )  # fmt: skip

    def certify(self, whom: str, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
        """The certificate and the key of `whom`, good for `names` (as in subjectAltName)."""
        stem = self.folder / f"{self.name}-{whom}"
        request, cert, key, more = (stem.with_suffix(end) for end in (".csr", ".crt", ".key", ".ext"))
        more.write_text(f"subjectAltName={names}\n")
        _openssl("req", "-new", *NEW_KEY, "-subj", f"/CN={whom}", "-keyout", str(key), "-out", str(request))
        _openssl(
            "x509", "-req", "-in", str(request),
            "-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial",
            *DAYS, "-extfile", str(more), "-out", str(cert),
        )  # fmt: skip
        return cert, key
