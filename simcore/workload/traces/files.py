"""What stands under a trace's path, read whole into memory and unpacked by content, whatever its name is."""

import codecs
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simcore.errors import InputError

_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
_PIECE = 1 << 20
MAX_BYTES = 1 << 31
"""Longest trace, unpacked: a week of Azure's conversations has half of it; what is longer is a mistake, or a trap."""

_CHUNK = re.compile(r"(?:.*/)?chunk-\d+-(?:trace\.csv|dataset\.json)")


@dataclass(frozen=True, slots=True)
class TraceFile:
    """One text, or the ServeGen files of a folder or a tar archive."""

    name: str
    """as messages call it"""
    data: bytes = b""
    """decompressed, without a byte order mark"""
    parts: dict[str, "TraceFile"] = field(default_factory=dict)
    """file name -> file; empty for a text"""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers from 1 on."""
        return ((number, line) for number, line in enumerate(io.BytesIO(self.data), 1) if not line.isspace())


def load(path: Path) -> TraceFile:
    """Read a file or a ServeGen folder. A missing, unreadable, empty or damaged one is an InputError."""
    try:
        data = _folder(path) if path.is_dir() else _read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{path}: cannot be read: a path has no null character") from None
    if isinstance(data, dict):
        return _chunks(path, data)
    if data.startswith(_GZIP):
        data = _decompress(path, data)
    if data[_TAR_AT:].startswith(_TAR):
        return _chunks(path, _archive(path, data))
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data or data.isspace():
        raise InputError(f"{path}: is empty")
    return TraceFile(str(path), data)


def _read(path: Path) -> bytes:
    """A file, or what comes out of a pipe. What could take all memory is refused."""
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{path}: is a device, and a trace is a file or a folder")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise _too_long(path)
    return path.read_bytes()


def _decompress(path: Path, data: bytes) -> bytes:
    unpacked = io.BytesIO()
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            while piece := stream.read(_PIECE):
                unpacked.write(piece)
                if unpacked.tell() > MAX_BYTES:
                    raise _too_long(path)
    except EOFError:
        raise InputError(f"{path}: is cut short, its gzip stream ends before its end mark") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: is damaged, its gzip stream cannot be unpacked ({error})") from None
    return unpacked.getvalue()


def _too_long(path: Path) -> InputError:
    return InputError(f"{path}: is longer than {MAX_BYTES >> 30} GiB unpacked, and no trace is")


def _folder(path: Path) -> dict[str, TraceFile]:
    files = [entry for entry in _descend(path).iterdir() if _CHUNK.fullmatch(entry.name)]
    return {entry.name: TraceFile(str(entry), _read(entry)) for entry in files}


def _descend(folder: Path) -> Path:
    """Follow a folder that holds nothing but a folder, as an unpacked archive does: data/language/m-small."""
    entries = list(folder.iterdir())
    while len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        folder = entries[0]
        entries = list(folder.iterdir())
    return folder


def _archive(path: Path, data: bytes) -> dict[str, TraceFile]:
    parts: dict[str, TraceFile] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                if not member.isreg() or member.issparse() or not _CHUNK.fullmatch(member.name):
                    continue
                name = member.name.rpartition("/")[2]
                if name in parts:
                    raise InputError(f"{path}: holds two files named {name}, but should describe one model")
                opened = archive.extractfile(member)
                assert opened is not None, "a regular member always opens"
                parts[name] = TraceFile(f"{path}/{member.name}", opened.read())
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise InputError(f"{path}: is damaged, its tar archive cannot be read ({error})") from None
    return parts


def _chunks(path: Path, parts: dict[str, TraceFile]) -> TraceFile:
    if not parts:
        raise InputError(f"{path}: is a folder or an archive without the files chunk-N-trace.csv of ServeGen")
    return TraceFile(str(path), parts=parts)
