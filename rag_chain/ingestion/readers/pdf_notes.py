"""Parts of a PDF other than the text of its pages: notes, the values of forms, attached files."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pypdfium2
from pypdfium2 import raw

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.reading import LINES, Reading

_NOTES = (raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE,
          raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_CARET, raw.FPDF_ANNOT_STAMP)  # fmt: skip


def read_attachments(document: pypdfium2.PdfDocument) -> Reading:
    """Return the files that are attached to a PDF, each read by its kind."""
    from rag_chain.ingestion import loaders

    reading = Reading([])
    for index in range(document.count_attachments()):
        attachment = document.get_attachment(index)
        name = clean(attachment.get_name()) or f"file {index + 1}"
        try:
            found = loaders.interpret(bytes(attachment.get_data()), name, name.rpartition("/")[2])
        except (DocumentLoadError, pypdfium2.PdfiumError) as error:
            reading.omissions.append(f"the attachment {name}: {getattr(error, 'reason', 'damaged')}")
            continue
        for part in found.documents:
            part.metadata |= {"attachment": name}
            for place in (LINES, "start_line", "end_line"):
                part.metadata.pop(place, None)
        reading.documents += found.documents
        reading.omissions += [f"the attachment {name}: {omission}" for omission in found.omissions]
    return reading


def read_annotations(page: pypdfium2.PdfPage, form: Any) -> list[str]:
    """Return the notes that readers wrote on the page, and the values of its form."""
    found = []
    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if raw.FPDFAnnot_GetFlags(annotation) & raw.FPDF_ANNOT_FLAG_HIDDEN:
                continue
            if kind == raw.FPDF_ANNOT_WIDGET:
                name, value = _field(annotation, form)
                if value.strip() and value != "Off":
                    found.append(f"{name}: {value}" if name else value)
            elif kind in _NOTES and (note := _string(annotation, b"Contents")).strip():
                found.append(f"Note: {note}")
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return found


def _field(annotation: Any, form: Any) -> tuple[str, str]:
    """Return the name and the value of a form field; a button that is not selected has no value."""
    if not form:
        return _string(annotation, b"T"), _string(annotation, b"V")
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    name = _wide(lambda *buffer: raw.FPDFAnnot_GetFormFieldName(form, annotation, *buffer))
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        chosen = raw.FPDFAnnot_IsChecked(form, annotation)
        said = _wide(lambda *buffer: raw.FPDFAnnot_GetFormFieldExportValue(form, annotation, *buffer)) if chosen else ""
        return name, said
    if kind == raw.FPDF_FORMFIELD_PUSHBUTTON:
        return name, ""
    value = _wide(lambda *buffer: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *buffer))
    return name, value or _string(annotation, b"V")


def _string(annotation: Any, key: bytes) -> str:
    return _wide(lambda *buffer: raw.FPDFAnnot_GetStringValue(annotation, key, *buffer))


def _wide(read: Callable[[Any, int], int]) -> str:
    """Return a string from PDFium, which writes UTF-16 into a buffer and returns its length in bytes."""
    length = read(None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    read(ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), length)
    return clean(buffer.raw[: length - 2].decode("utf-16-le", "replace"))
