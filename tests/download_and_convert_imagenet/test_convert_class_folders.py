from __future__ import annotations

import tensorflow as tf

from download_and_convert_imagenet.__main__ import main
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture


def test_any_class_folders(tmp_path, capsys):
    for name in ("ant", "bee"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for number in range(20):
            path = tmp_path / "raw" / name / f"{number}.png"
            path.write_bytes(encode(picture(20, 10 + number), "PNG"))
    data_dir = tmp_path / "data"
    arguments = [str(data_dir), "--source=folder", f"--raw_dir={tmp_path / 'raw'}"]
    assert main([*arguments, "--validation_fraction=0.25", "--num_processes=1"]) == 0
    printed = capsys.readouterr().out
    assert "train: 8 shards" in printed
    assert "validation: 2 shards" in printed
    (first, *_) = tf.data.TFRecordDataset(str(data_dir / "train-00000-of-00008"))
    features = tf.train.Example.FromString(first.numpy()).features.feature
    name = features["image/filename"].bytes_list.value[0].decode()
    assert features["image/format"].bytes_list.value[0] == b"PNG"
    assert features["image/encoded"].bytes_list.value[0] == (tmp_path / "raw" / name).read_bytes()
    assert features["image/class/label"].int64_list.value[0] == 1 + ("ant", "bee").index(name[:3])
