"""The names of the views and how many there are, without TensorFlow, which `tta` needs."""

from __future__ import annotations

NONE, LETTERBOX, KEEP_ASPECT = "none", "letterbox", "keep-aspect"
ONE_CROP, TEN_CROP, FLIP = "1-crop", "10-crop", "flip"
NUM_VIEWS = {NONE: 1, LETTERBOX: 1, KEEP_ASPECT: 1, ONE_CROP: 1, TEN_CROP: 10, FLIP: 2}
