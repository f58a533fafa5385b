from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from preprocessing import contact_sheet


def test_a_row_for_each_augmentation_and_a_view_in_each_column(tmp_path):
    """Two photos of one color each: only cropped they keep it, and no other row does."""
    colors = [(200, 40, 90), (10, 160, 60)]
    paths = []
    for number, color in enumerate(colors):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (50, 40), color).save(paths[-1])
    output = tmp_path / "sheet.png"
    code = contact_sheet.main([*paths, f"--output={output}", "--num_views=4", "--image_size=32"])
    assert code == 0
    pixels = np.asarray(Image.open(output).convert("RGB"))
    assert pixels.shape == (32 * len(contact_sheet.ROWS), 100 + 4 * 32, 3)
    rows = pixels[:, 100:].reshape(len(contact_sheet.ROWS), 32, 4, 32, 3).swapaxes(1, 2)
    expected = np.array([colors[column % 2] for column in range(4)])[:, None, None]
    changed = [np.abs(row.astype(int) - expected).max() > 4 for row in rows]
    assert changed == [False, True, True, True, True, True, True]


def test_a_missing_photo_is_one_line_and_code_3(tmp_path, capsys):
    assert contact_sheet.main([str(tmp_path / "none.png")]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "flag",
    ["--output=sheet", "--output=.foo", "--output=sheet.txt", "--num_views=0", "--image_size=0"],
)
def test_a_flag_that_cannot_be_meant_is_one_line_and_code_2(tmp_path, capsys, flag):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as caught:
        contact_sheet.main([str(tmp_path / "a.png"), flag])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {flag.split('=')[0]}: " in last


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet.eps", "nowhere/sheet.png"])
def test_a_file_that_cannot_be_written_is_one_line_and_code_3(tmp_path, capsys, name):
    """JPEG and EPS have no palettes; Pillow raises a different error for each."""
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "--num_views=1", "--image_size=16"]
    assert contact_sheet.main([*arguments, f"--output={tmp_path / name}"]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {tmp_path / name}: ")
    assert error.count("\n") == 1
