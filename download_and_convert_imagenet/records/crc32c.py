"""CRC-32C, the checksum of TFRecord files, in NumPy, without a compiled dependency.

The package google-crc32c is used if it is installed with its compiled part: it takes a tenth of the
time.

A CRC with a zero initial value is the remainder of the data, as a polynomial over GF(2), divided by
the Castagnoli polynomial P. Two things follow from that.

- P divides x^5685 + x^1362 + x^426 + 1, and so, by squaring three times, the same with eight times
  the exponents, which are whole bytes: a byte may be XORed onto the three bytes 4323, 5259 and 5685
  places after it and then dropped. Long data are folded like this, thousands of bytes at a time
  (2 GB/s on one core).
- Every byte contributes independently, by its value and its distance from the end. The rest is a
  table gather and an XOR reduction for blocks of 512 bytes, which are joined by shifting the state
  over one block.
"""

from __future__ import annotations

import functools

import numpy as np

try:
    import google_crc32c  # pyright: ignore[reportMissingImports]
except ImportError:
    google_crc32c = None

# The Castagnoli polynomial, bits reversed (RFC 3720, section 12.1).
_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF
_BLOCK_BYTES = 512
_SHORT_BYTES = 32
# Koopman (DSN 2002) gives the length from which such four-term multiples exist; of those up to
# degree 9000 this one has the largest gap below its degree, for a tail that short.
_FOLD_DISTANCES = (5685 - 1362, 5685 - 426, 5685)
# Squared further, the multiple holds for units of several bytes: long data are folded in few steps.
_FOLD_UNITS = (16, 4, 1)
# TFRecord masks its checksums: a CRC over data that itself holds a CRC protects badly.
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C of `data` as an unsigned 32-bit integer."""
    # The package's own fallback in Python is slower than numpy_crc32c.
    if google_crc32c is not None and google_crc32c.implementation == "c":
        return google_crc32c.value(data)
    return numpy_crc32c(data)


def numpy_crc32c(data: bytes) -> int:
    """Returns `crc32c(data)`, computed in NumPy."""
    if len(data) < _SHORT_BYTES:
        return _crc32c_bytewise(data)
    # Zeros in front of the data do not change a CRC that starts from zero, and the usual start
    # from all ones is the same as inverting the first four bytes.
    values = np.frombuffer(data, np.uint8).copy()
    values[:4] ^= 0xFF
    for unit_bytes in _FOLD_UNITS:
        values = _fold(values, unit_bytes)
    num_padding = -len(values) % _BLOCK_BYTES
    padded = np.zeros(num_padding + len(values), np.uint8)
    padded[num_padding:] = values
    state = 0
    shift_0, shift_1, shift_2, shift_3 = _block_shift_tables()
    for block in _block_contributions(padded.reshape(-1, _BLOCK_BYTES)):
        state = block ^ (
            shift_0[state & 0xFF]
            ^ shift_1[(state >> 8) & 0xFF]
            ^ shift_2[(state >> 16) & 0xFF]
            ^ shift_3[state >> 24]
        )
    return state ^ _ONES


def masked_crc32c(data: bytes) -> int:
    """Returns the checksum as TFRecord files store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ONES


def masked_crc32c_of_windows(data: bytes, window_bytes: int) -> np.ndarray:
    """Returns `masked_crc32c` of every window of `data`: uint32 [len(data) - window_bytes + 1].

    `window_bytes` is at least 4. A reader finds the next record header after damage with it.
    """
    values = np.frombuffer(data, np.uint8)
    num_windows = len(values) - window_bytes + 1
    if num_windows <= 0:
        return np.zeros(0, np.uint32)
    tables = _distance_tables(window_bytes)
    crc = np.full(num_windows, _ONES, np.uint32)
    for offset in range(window_bytes):
        window_bytes_at_offset = values[offset : offset + num_windows]
        inverted = window_bytes_at_offset ^ np.uint8(0xFF if offset < 4 else 0)
        crc ^= tables[offset].take(inverted)
    rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    return rotated + np.uint32(_MASK_DELTA)


def _crc32c_bytewise(data: bytes) -> int:
    table = _byte_table_list()
    state = _ONES
    for value in data:
        state = table[(state ^ value) & 0xFF] ^ (state >> 8)
    return state ^ _ONES


def _fold(values: np.ndarray, unit_bytes: int) -> np.ndarray:
    """Returns the last bytes of uint8 [num_bytes], changed to have the CRC from zero of all."""
    distances = [distance * unit_bytes for distance in _FOLD_DISTANCES]
    num_folded = len(values) - max(distances)
    if num_folded <= 0:
        return values
    for start in range(0, num_folded, min(distances)):
        end = min(start + min(distances), num_folded)
        block = values[start:end]
        for distance in distances:
            target = values[start + distance : end + distance]
            np.bitwise_xor(target, block, out=target)
    return values[num_folded:]


def _block_contributions(blocks: np.ndarray) -> list[int]:
    """Returns the CRC from zero of each row of uint8 [num_blocks, _BLOCK_BYTES]."""
    rows = np.arange(_BLOCK_BYTES, dtype=np.intp) * 256
    gathered = _distance_tables(_BLOCK_BYTES).ravel().take(blocks + rows)
    return np.bitwise_xor.reduce(gathered, axis=1).tolist()


@functools.lru_cache(maxsize=1)
def _byte_table() -> np.ndarray:
    """Returns the CRC from zero of each byte value: uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


@functools.lru_cache(maxsize=1)
def _byte_table_list() -> list[int]:
    return _byte_table().tolist()


@functools.lru_cache(maxsize=4)
def _distance_tables(num_bytes: int) -> np.ndarray:
    """Returns in row i what each byte value, `num_bytes - 1 - i` before the end, adds to a CRC."""
    byte_table = _byte_table()
    tables = np.empty((num_bytes, 256), np.uint32)
    tables[-1] = byte_table
    for row in range(num_bytes - 2, -1, -1):
        following = tables[row + 1]
        tables[row] = byte_table[following & 0xFF] ^ (following >> np.uint32(8))
    return tables


@functools.lru_cache(maxsize=1)
def _block_shift_tables() -> list[list[int]]:
    """Returns four tables, one per byte of the state, that shift it over one block of zeros."""
    # The state is XORed into the four bytes that follow it: the first four of the block.
    return _distance_tables(_BLOCK_BYTES)[:4].tolist()
