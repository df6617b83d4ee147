"""Results on disk: written whole or not at all, read only where they fit, never unpickled.

A long computation is kept in a file named after a hash of everything that determines it. A file that is missing,
truncated, of another computation or of another shape counts as absent: it is computed again and replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error,
           MemoryError)  # a header that claims a thousand billion numbers


def write_whole(path: Path, content: bytes) -> None:
    """Write next to `path` and rename: who reads meanwhile sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def key_of(said: object, tensors: Iterable[Tensor]) -> str:
    """A hash of `said` (anything json can write), of torch's version, and of every byte of the tensors."""
    digest = hashlib.sha256(json.dumps([torch.__version__, said]).encode())
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def store(file: Path, key: str, tensors: Mapping[str, Tensor]) -> None:
    packed = io.BytesIO()
    np.savez(packed, key=key, **{name: tensor.cpu().numpy() for name, tensor in tensors.items()})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, packed.getvalue())


def load(file: Path, key: str, like: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor] | None:
    """The tensors stored under `key`, if all of `like` {name: (shape, dtype)} are there and fit; else None."""
    try:
        with np.load(file, allow_pickle=False) as stored:  # a zip: every array is checked against its CRC
            if str(stored["key"]) != key:
                return None
            tensors = {name: torch.from_numpy(stored[name]) for name in like}
    except DAMAGED:
        return None
    fits = all((tuple(t.shape), t.dtype) == like[name] for name, t in tensors.items())
    return tensors if fits else None
