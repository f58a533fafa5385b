"""The command: rows that are there are skipped, and a failure is a row."""

from __future__ import annotations

import csv
import json

import pytest

from benchmarks.bulk import __main__ as bulk
from benchmarks.bulk import networks, table
from benchmarks.bulk.table import Row


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_in_the_table_is_not_evaluated_again(tmp_path, capsys):
    run, output = tmp_path / "run", tmp_path / "results.csv"
    run.mkdir()
    flags = ["--device=cpu", "--data_name=digits"]
    (entry,) = networks.entries([str(run)], None, flags)
    row = Row("lenet", entry.source, entry.words, top_1="0.25", examples="8", top_5="1.0")
    table.write(output, [row])
    # The directory holds no checkpoint: an evaluation would fail.
    assert bulk.main([str(run), *flags, f"--output={output}"]) == 0
    assert table.read(output) == [row]
    assert "top-1 25.00% of 8 images, skipped" in capsys.readouterr().err


def test_a_mistake_writes_no_table(tmp_path, capsys):
    output = tmp_path / "results.csv"
    assert bulk.main([str(tmp_path), f"--output={output}", "--dtype=float7"]) == 2
    assert "float7" in capsys.readouterr().err
    assert bulk.main([f"{tmp_path}/none", f"--output={output}"]) == 3
    assert not output.exists()


@pytest.mark.slow  # three processes that import TensorFlow
def test_a_failure_is_a_row_and_is_tried_again(digits_run, tmp_path, capsys):
    empty, output = tmp_path / "empty", tmp_path / "results.csv"
    empty.mkdir()
    argv = [str(empty), str(digits_run), "--model=lenet", "--device=cpu", f"--output={output}"]
    argv.append(f"--data_dir={digits_run.parent}/data")
    assert bulk.main(argv) == 1
    assert f"1 of 2 networks failed: {empty}" in capsys.readouterr().err
    failed, row = rows_of(output)
    assert failed["error"].startswith("exit code 2: ") or failed["error"].startswith(
        "exit code 3: "
    )
    assert failed["top_1"] == ""
    of_eval = json.loads((digits_run / "eval" / "eval.json").read_text())
    assert (row["name"], row["error"], row["batch_size"]) == ("lenet", "", "32")
    assert int(row["examples"]) == of_eval["examples"] == 359
    assert float(row["top_1"]) == pytest.approx(of_eval["top_1"], abs=1e-6)
    assert float(row["top_5"]) == pytest.approx(of_eval["top_5"], abs=1e-6)
    again = bulk.main(argv)
    assert again == 1
    assert ", skipped" in capsys.readouterr().err
    assert [r["source"] for r in rows_of(output)] == [str(digits_run), str(empty)]


@pytest.mark.slow  # several processes, one after the other
def test_half_the_batch_is_tried_when_memory_ends(digits_run, tmp_path, capsys):
    output = tmp_path / "results.csv"
    argv = [str(digits_run), "--device=cpu", f"--output={output}", "--batch_size=262144"]
    argv += [f"--data_dir={digits_run.parent}/data", "--memory_gib=2.5"]
    assert bulk.main(argv) == 0
    assert "out of memory with a batch of 262144: trying 131072" in capsys.readouterr().err
    (row,) = rows_of(output)
    assert int(row["batch_size"]) < 262144
    assert row["examples"] == "359"
