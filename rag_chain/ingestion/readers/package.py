"""Open Office and e-book files, which are ZIP archives of XML, as untrusted input."""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Any, Literal

from lxml import etree

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.readers.salvage import rebuilt, salvage

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_EXPANDED_LIMIT = 300_000_000
_PART_LIMIT = 100_000_000
# Deflate compresses zeros 1000:1, but real documents of some size at most about 30:1.
_HARMLESS = 1_000_000
_HIGHEST_RATIO = 120
_STRICT = "http://purl.oclc.org/ooxml/"
_TRANSITIONAL = {
    "wordprocessingml/main": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "presentationml/main": "http://schemas.openxmlformats.org/presentationml/2006/main",
    "drawingml/main": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "officeDocument/relationships": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "officeDocument/math": "http://schemas.openxmlformats.org/officeDocument/2006/math",
}


class Package:
    """The parts of an archive.

    Args:
        data: the file.
        kind: what it should be, for messages: ``"DOCX"``.

    Raises:
        DocumentLoadError: it is not an archive, is encrypted, or expands too much.
    """

    def __init__(self, data: bytes, kind: str) -> None:
        if data.startswith(_OLE):
            raise DocumentLoadError("the document is encrypted: save it without a password")
        self._kind = kind
        self.omissions: list[str] = []
        """The parts that are missing because the archive is cut off."""
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError) as error:
            remains = salvage(data)
            if not remains.parts:
                raise DocumentLoadError(f"not a valid {kind} file: its archive is damaged or cut off") from error
            self.omissions.append(remains.omission)
            archive = zipfile.ZipFile(io.BytesIO(rebuilt(remains)))
        self._archive = archive
        check_expansion(archive)
        self.names = archive.namelist()

    def read(self, name: str) -> bytes:
        """The bytes of a part.

        Raises:
            DocumentLoadError: it is damaged, encrypted or missing.
        """
        try:
            return self._archive.read(name)
        except KeyError as error:
            if self.omissions:
                raise DocumentLoadError(f"its archive is cut off before {name}") from error
            raise DocumentLoadError(f"not a valid {self._kind} file: it has no {name}") from error
        except RuntimeError as error:
            raise DocumentLoadError("the document is encrypted: save it without a password") from error
        except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
            raise DocumentLoadError(f"not a valid {self._kind} file: its part {name} is damaged") from error

    def xml(self, name: str) -> Any:
        """Return the root element of a part; Strict Open XML namespaces are replaced by the transitional ones.

        Raises:
            DocumentLoadError: as ``read``, or it is not XML.
        """
        return parse_xml(self.read(name), self._kind)

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return the relations of an Open XML part inside the package: id -> (last word of the type, target's path)."""
        folder, _, name = part.rpartition("/")
        path = f"{folder}/_rels/{name}.rels".lstrip("/")
        if path not in self.names:
            return {}
        found = {}
        for element in self.xml(path):
            if isinstance(element.tag, str) and element.get("TargetMode") != "External":
                target = element.get("Target", "")
                path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")
                found[element.get("Id", "")] = (element.get("Type", "").rpartition("/")[2], path.lstrip("/"))
        return found


def check_expansion(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that expands too much (a ZIP bomb).

    Raises:
        DocumentLoadError: it does.
    """
    entries = archive.infolist()
    for entry in entries:
        bomb = entry.file_size > _HARMLESS and entry.file_size > _HIGHEST_RATIO * max(1, entry.compress_size)
        if bomb or entry.file_size > _PART_LIMIT:
            raise DocumentLoadError(
                f"it expands too much: {entry.filename} from {entry.compress_size:,} to {entry.file_size:,} bytes"
            )
    if sum(entry.file_size for entry in entries) > _EXPANDED_LIMIT:
        raise DocumentLoadError(f"it expands to more than {_EXPANDED_LIMIT // 1_000_000} MB")


def parse_xml(data: bytes, kind: str = "XML", *, recover: bool = False) -> Any:
    """Return the root element; only entities that the document itself defines are expanded, nothing is loaded.

    Args:
        data: the file.
        kind: what it should be, for messages.
        recover: whether to read what is left of a document that is cut off.

    Raises:
        DocumentLoadError: it is not XML.
    """
    if _STRICT.encode() in data:
        for strict, transitional in _TRANSITIONAL.items():
            data = data.replace(f'"{_STRICT}{strict}"'.encode(), f'"{transitional}"'.encode())
    try:
        root = _parsed(data, "internal", recover=recover)
    except etree.XMLSyntaxError as error:
        try:  # an external entity, or one that expands too much: parse without its text
            if b"<!ENTITY" not in data:
                raise
            root = _parsed(data, False, recover=recover)
        except etree.XMLSyntaxError:
            raise DocumentLoadError(f"not a valid {kind} file: {str(error.msg).lower()}") from error
    if root is None:
        raise DocumentLoadError(f"not a valid {kind} file: it holds no element")
    return root


def _parsed(data: bytes, entities: Literal["internal", False], *, recover: bool) -> Any:
    parser = etree.XMLParser(
        resolve_entities=entities, no_network=True, load_dtd=False, remove_pis=True, recover=recover
    )
    return etree.fromstring(data, parser)
