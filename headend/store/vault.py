"""A file that is encrypted and authenticated piece by piece, so that any size is read and written in little memory.

Layout, big-endian:

    8   magic "HEADBKUP"
    1   format version, 1
    4   bytes of content in each chunk but the last
    32  salt
    chunks: AES-256-GCM ciphertext and tag (16)

The key of one file is HKDF-SHA256 (RFC 5869) of the user's key with the salt, so no two files share one. The nonce of a chunk
is its number (11 octets) and whether it is the last (1 octet): a file that was cut, or whose chunks changed places, does not
open (the STREAM construction, Hoang, Reyhanitabar, Rogaway, Vizar, CRYPTO 2015). The 45 octets of the head are authenticated
with every chunk.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headend.errors import StoreError

KEY_OCTETS = 32
_MAGIC = b"HEADBKUP"
_VERSION = 1
_CHUNK = 1 << 20
MAX_CHUNK = 1 << 24
"""Longest chunk a file may ask for; keeps a hostile head from asking for memory without end. [B]"""
_HEAD = struct.Struct(">8sBI32s")
_TAG = 16


def seal(source: BinaryIO, target: BinaryIO, key: bytes, chunk: int = _CHUNK) -> None:
    """Write all of ``source`` to ``target``, encrypted. ``key``: 32 octets. Raises `StoreError` for another length."""
    head = _HEAD.pack(_MAGIC, _VERSION, chunk, os.urandom(32))
    cipher = _cipher(key, head)
    target.write(head)
    number, content = 0, source.read(chunk)
    while True:
        following = source.read(chunk)
        target.write(cipher.encrypt(_nonce(number, is_last=not following), content, head))
        if not following:
            return
        number, content = number + 1, following


def unseal(source: BinaryIO, name: str, key: bytes) -> Iterator[bytes]:
    """Give the content of a sealed file piece by piece; none of it may be used before the last has come.

    Raises `StoreError` where it is no such file, was cut or changed, or the key is another.
    """
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise StoreError(f"{name}: is no backup of headend; give the file that `headend store backup` wrote")
    _, version, chunk, _ = _HEAD.unpack(head)
    if version != _VERSION:
        raise StoreError(
            f"{name}: backup format {version} is newer than this program, which knows {_VERSION}; upgrade it"
        )
    if not 0 < chunk <= MAX_CHUNK:
        raise StoreError(f"{name}: damaged: chunks of {chunk} bytes; take another backup")
    cipher = _cipher(key, head)
    number, content = 0, source.read(chunk + _TAG)
    while True:
        following = source.read(chunk + _TAG)
        try:
            yield cipher.decrypt(_nonce(number, is_last=not following), content, head)
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                f"{name}: chunk {number} does not open: another key, or the file was cut or changed; nothing was restored"
            ) from error
        if not following:
            return
        number, content = number + 1, following


def _cipher(key: bytes, head: bytes) -> AESGCM:
    if len(key) != KEY_OCTETS:
        raise StoreError(f"the backup's key has {len(key)} octets; write 64 hexadecimal digits (32 octets, AES-256)")
    return AESGCM(HKDF(SHA256(), KEY_OCTETS, salt=head[-32:], info=b"headend backup 1").derive(key))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((is_last,))
