"""Torch's first format: good files are read exactly, and no bad file ever runs anything."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from checkpoints.readers import torch_file
from common.errors import DataError
from tests.checkpoints.readers import torch_files
from tests.checkpoints.readers.torch_files import contents, state_dict, storage, tensor, text

VALUES = np.arange(12, dtype=np.float32)


@pytest.fixture
def refused(tmp_path):
    """Asserts that content is refused with a line that matches."""

    def check(content: bytes, match: str) -> None:
        path = tmp_path / "bad.pth"
        path.write_bytes(content)
        with pytest.raises(DataError, match=match) as caught:
            torch_file.read(path)
        assert "\n" not in str(caught.value)
        assert "bad.pth" in str(caught.value)

    return check


def test_reads_every_tensor_with_its_type_and_order(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "z": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "a": rng.normal(size=5).astype(np.float16),
        "steps": np.asarray(7, np.int64),
    }
    read = torch_file.read(torch_files.write(tmp_path / "good.pth", tensors))
    assert list(read) == ["z", "a", "steps"]
    for name, values in tensors.items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def test_views_of_one_storage_with_offset_and_strides(tmp_path):
    items = {
        "transposed": tensor(storage("0", 12), [4, 3], [1, 4]),
        "row": tensor(storage("0", 12), [4], [1], offset=8),
        "empty": tensor(storage("0", 12), [0, 3], [3, 1]),
    }
    path = tmp_path / "views.pth"
    path.write_bytes(contents(state_dict(items), {"0": VALUES}))
    read = torch_file.read(path)
    np.testing.assert_array_equal(read["transposed"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(read["row"], [8, 9, 10, 11])
    assert read["empty"].shape == (0, 3)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("checkpoints.readers.torch_pickle", "pickle"),
    ],
)
def test_other_names_are_refused_and_nothing_is_run(refused, tmp_path, module, name):
    canary = tmp_path / "canary"
    command = f"touch {canary}"
    call = f"c{module}\n{name}\n".encode() + b"(" + text(command) + b"tR"
    refused(contents(state_dict({"w": call}), {}), f"names {module}.{name}, .*refused")
    assert not canary.exists()


class _Attack:
    def __init__(self, canary):
        self._canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self._canary,)


@pytest.mark.parametrize("protocol", range(6))
def test_the_usual_attack_in_every_protocol(refused, tmp_path, protocol):
    canary = tmp_path / "canary"
    attack = pickle.dumps(_Attack(canary), protocol)
    refused(attack, "refused")
    refused(contents(attack, {}), "refused")
    assert not canary.exists()
    pickle.loads(attack)
    assert canary.exists()  # or this would not be an attack


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(S'mkdir CANARY'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\n" + text("mkdir CANARY") + b"o.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text("mkdir CANARY") + b"\x85R.",
        b"\x80\x04cshutil\nos.mkdir\n" + text("CANARY") + b"\x85R.",
    ],
)
def test_no_instruction_reaches_a_function(refused, tmp_path, monkeypatch, opcodes):
    monkeypatch.chdir(tmp_path)
    for content in (opcodes, contents(opcodes, {})):
        refused(content, "refused|is not a torch file")
        assert not (tmp_path / "CANARY").exists()


@pytest.mark.parametrize("inside", [b"c__builtin__\ndict\n", b"ctorch\nFloatStorage\n"])
def test_stand_ins_take_no_state(refused, inside):
    """BUILD with (None, {...}) sets attributes of whatever it is applied to."""
    state = b"N}" + text("dtype") + text("O") + b"s\x86"
    refused(contents(b"\x80\x02" + inside + state + b"b.", {}), "refused|not a torch file")


def test_building_state_onto_the_rebuilder_changes_nothing(tmp_path, refused):
    rebuilder = b"ctorch._utils\n_rebuild_tensor_v2\n"
    state = b"N}" + text("__class__") + b"ccollections\nOrderedDict\n" + b"s\x86"
    refused(contents(b"\x80\x02" + rebuilder + state + b"b.", {}), "not a torch file")
    state = b"N}" + text("__defaults__") + text("x") * 3 + b"\x87s\x86"
    refused(contents(b"\x80\x02" + rebuilder + state + b"b.", {}), "does not hold a state dict")
    good = {"w": VALUES}
    assert torch_file.read(torch_files.write(tmp_path / "good.pth", good)).keys() == good.keys()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ([13], [1], 0),
        ([12], [1], 1),
        ([2], [12], 0),
        ([2000000000, 2000000000], [0, 0], 0),
        ([4, 4], [1, 1], 0),
        ([0, 13], [1, 1], 2000000000),
    ],
)
def test_a_tensor_stays_within_its_storage(tmp_path, refused, shape, strides, offset):
    state = state_dict({"w": tensor(storage("0", 12), shape, strides, offset)})
    if 0 in shape:  # nothing is read
        path = tmp_path / "empty.pth"
        path.write_bytes(contents(state, {"0": VALUES}))
        assert torch_file.read(path)["w"].size == 0
    else:
        refused(contents(state, {"0": VALUES}), "'w' reaches beyond its storage")


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        *[
            ([-1], [1], 0),
            ([3], [-1], 3),
            ([3], [1], -1),
            ([3], [1, 1], 0),
            ([1] * 99, [1] * 99, 0),
        ],
        *[([1], [10**30], 0), ([0, 2**62, 2**62], [1, 1, 1], 0), ([1], [1], 2**62)],
    ],
)
def test_numbers_that_describe_no_tensor(refused, shape, strides, offset):
    state = state_dict({"w": tensor(storage("0", 12), shape, strides, offset)})
    refused(contents(state, {"0": VALUES}), "cannot exist|'w' has a size that|'w' reaches beyond")


def test_storages_must_be_as_described(refused):
    state = state_dict({"w": tensor(storage("0", 12), [12], [1])})
    good = contents(state, {"0": VALUES})
    refused(good[:-1], "cut off at storage '0'")
    refused(good + b"\0", "1 bytes after")
    refused(contents(state, {"0": VALUES[:11]}), "damaged or cut off")
    refused(contents(state, {"0": VALUES, "1": VALUES}), "storages are not those")
    refused(contents(state, {"0": VALUES}, keys=[[]]), "storages are not those")
    huge = state_dict({"w": tensor(storage("0", 2**31 - 1), [12], [1])})
    refused(contents(huge, {"0": VALUES}), "damaged or cut off")
    two_ways = state_dict(
        {
            "v": tensor(storage("0", 12), [12], [1]),
            "w": tensor(storage("0", 12, b"LongStorage"), [1], [1]),
        }
    )
    refused(contents(two_ways, {"0": VALUES}), "in two ways")


def test_other_files(refused):
    refused(b"", "not a torch file")
    refused(b"\x89PNG\r\n", "not a torch file|refused")
    refused(b"PK\x03\x04rest", "zip format")
    refused(pickle.dumps(1, 2) * 5, "magic number")
    refused(contents(pickle.dumps(3, 2), {}), "does not hold a state dict")
    refused(contents(pickle.dumps({"epoch": 3}, 2), {}), "not a named tensor")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read: Is a directory"):
        torch_file.read(tmp_path)


def test_whatever_is_damaged_the_answer_is_a_line(tmp_path):
    """300 damaged copies of a good file: each is read, or refused by DataError, and no more."""
    good = torch_files.write(tmp_path / "good.pth", {"a.b": VALUES.reshape(3, 4), "c": VALUES})
    content = good.read_bytes()
    head = len(content) - 2 * VALUES.nbytes
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.pth"
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, head, size=rng.integers(1, 4)):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            torch_file.read(path)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes
