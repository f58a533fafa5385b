from __future__ import annotations

import threading

import pytest
import tensorflow as tf

from models import forward_pass as module
from models.forward_pass import forward_pass, name_hash


def test_names_hash_alike_in_every_process():
    # The check value that CRC-32 is published with.
    assert name_hash("123456789")[0] % 2**32 == 0xCBF43926


def test_hashes_of_many_names_are_int32_and_differ():
    hashes = [name_hash(f"blocks_{index}.drop") for index in range(1000)]
    assert len(set(hashes)) == 1000
    assert all(-(1 << 31) <= word < 1 << 31 for pair in hashes for word in pair)


def test_a_pass_lasts_for_its_block_even_when_it_fails():
    assert module.current() is None

    def fail() -> None:
        with forward_pass(None) as inner:
            assert module.current() is inner
            raise KeyError

    with forward_pass(None) as outer:
        with pytest.raises(KeyError):
            fail()
        assert module.current() is outer
    assert module.current() is None


def test_threads_have_passes_of_their_own():
    seen = []
    with forward_pass(None):
        thread = threading.Thread(target=lambda: seen.append(module.current()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_the_average_starts_from_the_variable_and_continues():
    variable = tf.Variable(10.0)
    with forward_pass(None) as current:
        current.average_in(variable, tf.constant(20.0), momentum=0.9)
        current.average_in(variable, tf.constant(1.0), momentum=0.9)
    # 0.9 * 10 + 0.1 * 20 = 11, then 0.9 * 11 + 0.1 * 1 = 10.
    assert float(current.statistics[id(variable)]) == pytest.approx(10.0)
    assert float(variable) == 10.0
