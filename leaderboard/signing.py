"""Ed25519 keys of those who verify: made, read, and used to sign bytes. What is signed is said in `verification.py`.

A private key that others can read proves nothing any more, so it is kept with mode 0600 and refused with another. The
public key, beside it with the ending `.pub`, is for everybody. `cryptography` is loaded only when a key is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import StringConstraints

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # the 32 bytes of an ed25519 key
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
LARGEST_KEY_FILE = 10_000  # bytes; a PEM file has about 120


class KeyProblem(ValueError):
    """A key that cannot be made or used; the text says why and what to do."""


def public_file(private: Path) -> Path:
    """Where the public half of a private key lies."""
    return private.with_name(private.name + ".pub")


def generate(path: Path) -> PublicKey:
    """Make a key pair: `path` (PEM, mode 0600) and `path.pub` (PEM). Returns the public key.

    Raises KeyProblem where either file is there already or cannot be written; then nothing is left behind.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, public = Ed25519PrivateKey.generate(), public_file(path)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for taken in filter(os.path.lexists, (path, public)):
        raise KeyProblem(f"keygen: {taken} exists and is not overwritten: what it signed would lose its proof")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path, pem, 0o600)
        try:
            _create(public, public_pem(key.public_key()), 0o644)
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise KeyProblem(
            f"keygen: cannot write {error.filename or path}: {error.strerror}; choose another place with --out FILE"
        ) from error
    return text_of(key.public_key())


def _create(path: Path, content: bytes, mode: int) -> None:
    """A new file with this mode from its first moment on; gone again if it cannot be written whole."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key. KeyProblem where it is missing, no ed25519 key, or readable by others."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _read(path, "private key")
    if os.name == "posix" and (mode := path.stat().st_mode & 0o077):
        raise KeyProblem(
            f"private key {path}: others may use it (mode {mode | 0o600:04o}), so nothing signed with it is proof; "
            f"make a new one with `python -m mlperf keygen --out FILE`, or, if nobody read it: chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise KeyProblem(f"private key {path}: cannot be read: {error}; `python -m mlperf keygen` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"private key {path}: {type(key).__name__}, an ed25519 key is needed: python -m mlperf keygen")
    return key


def public_key(path: Path) -> PublicKey:
    """Read a public key from a PEM file. KeyProblem where it is missing or none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _read(path, "public key")
    if b"PRIVATE KEY" in pem:
        raise KeyProblem(f"public key {path}: this is a private key; never hand it on, the public one is {path}.pub")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise KeyProblem(f"public key {path}: cannot be read: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"public key {path}: {type(key).__name__}, an ed25519 key is needed")
    return text_of(key)


def _read(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "no such file")
        with open(path, "rb") as file:
            content = file.read(LARGEST_KEY_FILE + 1)
    except OSError as error:
        raise KeyProblem(f"{what} {path}: {error.strerror}; `python -m mlperf keygen` makes a pair") from None
    if len(content) > LARGEST_KEY_FILE:
        raise KeyProblem(f"{what} {path}: larger than {LARGEST_KEY_FILE} bytes, so it is no key")
    return content


def text_of(key: Ed25519PublicKey) -> PublicKey:
    """A public key as 64 hexadecimal digits."""
    return key.public_bytes_raw().hex()


def public_pem(key: Ed25519PublicKey | PublicKey) -> bytes:
    """A public key as the text of a PEM file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, str):
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed_by(public: PublicKey, signature: Signature, content: bytes) -> bool:
    """Whether the holder of this key signed these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True
