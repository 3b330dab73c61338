"""One number, one text: whatever type and digits carry it."""

from __future__ import annotations

from decimal import Decimal

# Above this a number stays as it is written: its zeros written out would fill the memory.
LONGEST = 400


def plain_number(text: str) -> str:
    """Return a number as its shortest text without an exponent: ``1.50``, ``1.5`` and ``15E-1`` are one.

    :param text: a finite number, as JSON, Python's float or Decimal write it.
    """
    if not text.isascii() or not text.replace("-", "").replace(".", "").isdigit():
        number = Decimal(text)
        if number and abs(number.adjusted()) > LONGEST:
            return text
        text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
