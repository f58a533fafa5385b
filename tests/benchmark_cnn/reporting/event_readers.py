"""The two loaders of TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard import context
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util

Points = dict[str, list[tuple[int, float]]]


def read_with_slow_loader(directory: Path) -> Points:
    """What TensorBoard shows with --load_fast=false."""
    return points_of(plugin_accumulator(directory))


def read_with_fast_loader(directory: Path) -> Points:
    """What TensorBoard shows by default; skips the test where its server does not run."""
    try:
        binary = server_ingester.get_server_binary()
    except server_ingester.NoDataServerError as error:
        pytest.skip(str(error))
    server = _started(binary, directory)
    try:
        return _read_until(server.data_provider, read_with_slow_loader(directory))
    finally:
        # The server ends with its standard input.
        server._stdin_handle.close()


def _started(binary, directory: Path, attempts: int = 5):
    """Starts the server; TensorBoard waits 5 s for its answer, which may come later."""
    while True:
        server = server_ingester.SubprocessServerDataIngester(
            server_binary=binary,
            logdir=str(directory),
            reload_interval=0,
            channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        )
        try:
            server.start()
        except server_ingester.DataServerStartupError:
            server._stdin_handle.close()
            attempts -= 1
            if not attempts:
                raise
        else:
            return server


def metadata(directory: Path) -> dict[str, str]:
    """Tag -> the TensorBoard plugin that shows it."""
    accumulator = plugin_accumulator(directory)
    accumulator.Reload()
    tags = accumulator.AllSummaryMetadata()
    return {tag: value.plugin_data.plugin_name for tag, value in tags.items()}


def tensor(directory: Path, tag: str):
    """The last value of `tag`, as a NumPy array."""
    accumulator = plugin_accumulator(directory)
    accumulator.Reload()
    return tf.make_ndarray(accumulator.Tensors(tag)[-1].tensor_proto)


def plugin_accumulator(directory: Path):
    """The slow loader itself; `Reload` reads what has come since."""
    everything = {plugin_event_accumulator.TENSORS: 0}
    plugins = {name: 0 for name in ("scalars", "histograms", "images")}
    return plugin_event_accumulator.EventAccumulator(
        str(directory), everything, tensor_size_guidance=plugins
    )


def points_of(accumulator) -> Points:
    """What a running TensorBoard shows after it has looked again."""
    accumulator.Reload()
    return {
        tag: [
            (event.step, tf.make_ndarray(event.tensor_proto).item())
            for event in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
    }


def _read_until(provider, wanted: Points) -> Points:
    """The server answers while it is still reading: asks for a minute, or until it has `wanted`."""
    deadline = time.monotonic() + 60
    while True:
        runs = provider.read_scalars(
            context.RequestContext(), experiment_id="", plugin_name="scalars", downsample=10_000
        )
        points = {
            tag: [(point.step, point.value) for point in series]
            for tag, series in runs.get(".", {}).items()
        }
        if points == wanted or time.monotonic() > deadline:
            return points
        time.sleep(0.05)
