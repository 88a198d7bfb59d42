"""Compound files (OLE), as old office programs and Outlook write them: storages and streams in one file."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_FREE, _END, _FAT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
_SECTOR, _CUTOFF = 512, 4096


@dataclass
class _Entry:
    name: str
    kind: int
    content: bytes = b""
    children: list[int] = field(default_factory=list)
    start: int = 0


def compound_bytes(streams: dict[str, bytes]) -> bytes:
    """A compound file of these streams, by their paths; each is filled up with NUL to the size of a large one."""
    entries = [_Entry("Root Entry", 5)]
    places: dict[str, int] = {"": 0}
    for path, content in streams.items():
        above = ""
        for part in path.split("/"):
            here = f"{above}/{part}"
            if here not in places:
                is_stream = here.strip("/") == path
                entries.append(_Entry(part, 2 if is_stream else 1, content.ljust(_CUTOFF, b"\0") if is_stream else b""))
                places[here] = len(entries) - 1
                entries[places[above]].children.append(places[here])
            above = here
    sectors: list[bytes] = []
    table: list[int] = []

    def add(content: bytes) -> int:
        first = len(sectors)
        pieces = [content[i : i + _SECTOR].ljust(_SECTOR, b"\0") for i in range(0, len(content), _SECTOR)]
        sectors.extend(pieces)
        table.extend([*range(first + 1, first + len(pieces)), _END])
        return first

    for entry in entries:
        entry.start = add(entry.content) if entry.kind == 2 else (_END if entry.kind == 5 else 0)
    directory = add(_directory(entries))
    fats = -(-(len(table) + 2) // (_SECTOR // 4))
    first_fat = len(sectors)
    table += [_FAT] * fats
    table += [_FREE] * (-len(table) % (_SECTOR // 4))
    sectors += [struct.pack("<128I", *table[i : i + 128]) for i in range(0, len(table), 128)]
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0, fats,
        directory, 0, _CUTOFF, _END, 0, _END, 0,
    )  # fmt: skip
    header += struct.pack("<109I", *range(first_fat, first_fat + fats), *[_FREE] * (109 - fats))
    return header + b"".join(sectors)


def _directory(entries: list[_Entry]) -> bytes:
    """The entries; those of one storage in a tree that leans to the right, in the order that the format asks for."""
    right, child = dict.fromkeys(range(len(entries)), _NONE), dict.fromkeys(range(len(entries)), _NONE)
    for number, entry in enumerate(entries):
        inner = sorted(entry.children, key=lambda n: (len(entries[n].name), entries[n].name.upper()))
        if inner:
            child[number] = inner[0]
            right |= dict(zip(inner, [*inner[1:], _NONE], strict=True))
    blocks = []
    for number, entry in enumerate(entries):
        name = entry.name.encode("utf-16-le") + b"\0\0"
        blocks.append(
            name.ljust(64, b"\0")
            + struct.pack("<HBBIII", len(name), entry.kind, 1, _NONE, right[number], child[number])
            + bytes(36)
            + struct.pack("<IQ", entry.start, len(entry.content))
        )
    return b"".join(blocks)
