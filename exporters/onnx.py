"""ONNX files, for ONNX Runtime and whatever else reads the format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from common.errors import UsageError
from exporters.frozen import INPUT, Frozen
from exporters.tflite import quiet
from inference.signature import PROPERTY

# Of 2022. tf2onnx 1.17 knows 18 at most, and older runtimes read 17, too.
OPSET = 17
_BATCH = "batch"
_DOMAINS = ("", "ai.onnx.ml")
_CATCH_ERRORS = "TF2ONNX_CATCH_ERRORS"
_XLA, _NOT_INLINED = "_XlaMustCompile", "_noinline"


def convert(frozen: Frozen) -> Any:
    """Returns an onnx.ModelProto from `images`, float32 [B, S, S, 3], to the signature's output.

    Raises:
        UsageError: The network has an operation that ONNX lacks.
    """
    import onnx
    import tf2onnx.convert

    output = frozen.signature.output
    (given,), (result,) = frozen.function.inputs, frozen.function.outputs
    # tf2onnx.convert.from_function would look for variables again, and find none.
    with quiet(), _without_copies():
        model, _ = tf2onnx.convert.from_graph_def(
            _translatable(frozen.function.graph.as_graph_def()),
            name=frozen.signature.model,
            input_names=[given.name],
            output_names=[result.name],
            opset=OPSET,
            tensors_to_rename={given.name: INPUT, result.name: output},
        )
    # tf2onnx puts an operation that it cannot translate into the file as it is.
    foreign = sorted({node.op_type for node in model.graph.node if node.domain not in _DOMAINS})
    known = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in known}
    foreign += sorted({n.op_type for n in model.graph.node if n.op_type not in names})
    if foreign:
        raise UsageError(
            f"{frozen.signature.model} cannot become an ONNX file: ONNX has no {foreign[0]}"
        )
    if frozen.batch_size is None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    model.producer_name = "tensorflow-imagenet"
    model.doc_string = "images: RGB, 0..255, float32 [batch, height, width, 3]"
    return model


@contextlib.contextmanager
def _without_copies() -> Iterator[None]:
    """Keeps tf2onnx from copying all weights before each optimization, 20 times and more.

    The copies are for optimizations that fail. They refer to each other and stay in memory:
    ResNet-50, 94 MB of weights, took 6 GB.
    """
    before = os.environ.get(_CATCH_ERRORS)
    os.environ[_CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(_CATCH_ERRORS)
        if before is not None:
            os.environ[_CATCH_ERRORS] = before


def _translatable(graph: Any) -> Any:
    """Rewrites what tf2onnx 1.17 does not know by operations that it knows, in place.

    ConvNeXt has both: Keras compiles its grouped convolutions with XLA, and its GELU has Erfc.
    """
    import tensorflow as tf

    for function in graph.library.function:
        function.attr.pop(_XLA, None)
        function.attr.pop(_NOT_INLINED, None)
    one = tf.compat.v1.NodeDef(name="exported/one", op="Const")
    one.attr["dtype"].type = tf.float32.as_datatype_enum
    one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1.0))
    complements = [node for node in graph.node if node.op == "Erfc"]
    for node in graph.node:
        node.attr.pop(_XLA, None)
    for node in complements:
        erf = graph.node.add()
        erf.CopyFrom(node)
        erf.op, erf.name = "Erf", f"{node.name}/erf"
        node.op = "Sub"
        node.input[:] = [one.name, erf.name]
    if complements:
        graph.node.append(one)
    return graph


def content(model: Any, frozen: Frozen) -> bytes:
    """Returns the file of a model, checked, with the signature among its properties."""
    import onnx

    onnx.helper.set_model_props(model, {PROPERTY: frozen.signature.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
