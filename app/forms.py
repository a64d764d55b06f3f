# SPDX-License-Identifier: Apache-2.0
"""Counts what a form has beside its files."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

__all__ = ["FieldCounter"]


class FieldCounter:
    """Counts the bytes of a form's parts that are no files, read as gradio reads them.

    Args:
        content_type: Header of the request.

    Raises:
        ValueError: If it names no boundary.
    """

    def __init__(self, content_type: bytes) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise ValueError("this form has no boundary between its parts: send it as multipart/form-data")
        self._num_bytes = 0
        self._is_file = False
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._parser: MultipartParser | None = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
            },
        )

    def add(self, data: bytes) -> int:
        """Read on.

        Returns:
            The bytes of all fields so far. A form that cannot be read has no more than until there: gradio refuses it.
        """
        if self._parser is not None:
            try:
                self._parser.write(data)
            except FormParserError:
                self._parser = None
        return self._num_bytes

    def _begin_part(self) -> None:
        self._is_file = False
        self._disposition = b""

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._num_bytes += end - start

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._num_bytes += end - start

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        self._is_file = b"filename" in parse_options_header(self._disposition)[1]

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._num_bytes += end - start
