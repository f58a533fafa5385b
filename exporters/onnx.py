"""ONNX files, for ONNX Runtime and whatever else reads the format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from common.errors import UsageError
from exporters.servable import INPUT, Servable
from exporters.tflite import quiet
from inference.signature import PROPERTY

# Of 2022. tf2onnx 1.17 knows 18 at most, and older runtimes read 17, too.
OPSET = 17
_BATCH = "batch"
_DOMAINS = ("", "ai.onnx.ml")
# Larger constants are weights, whose values no translation depends on.
_SMALL_BYTES = 1 << 16
_XLA, _NOT_INLINED = "_XlaMustCompile", "_noinline"


def convert(servable: Servable) -> Any:
    """Returns an onnx.ModelProto from `images`, float32 [B, S, S, 3], to the signature's output.

    Raises:
        UsageError: The network has an operation that ONNX lacks.
    """
    import onnx

    model = _converted(servable)
    # tf2onnx puts an operation that it cannot translate into the file as it is.
    foreign = sorted({node.op_type for node in model.graph.node if node.domain not in _DOMAINS})
    known = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in known}
    foreign += sorted({n.op_type for n in model.graph.node if n.op_type not in names})
    if foreign:
        raise UsageError(
            f"{servable.signature.model} cannot become an ONNX file: ONNX has no {foreign[0]}"
        )
    if servable.batch_size is None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    model.producer_name = "tensorflow-imagenet"
    model.doc_string = "images: RGB, 0..255, float32 [batch, height, width, 3]"
    return model


def _converted(servable: Servable) -> Any:
    """Does as tf2onnx.convert.from_graph_def does, with fewer copies of the weights.

    That function holds 40 copies of them, and with its environment's defaults twice as many.
    """
    import tensorflow as tf
    from tf2onnx import optimizer, tf_loader, tfonnx

    function, output = servable.with_constants(), servable.signature.output
    (given,), (result,) = function.inputs, function.outputs
    graph = _translatable(function.graph.as_graph_def())
    weights = _take_weights(graph)
    with quiet(), tf.Graph().as_default() as announced:
        graph = tf_loader.tf_optimize([given.name], [result.name], graph)
        _announce_weights(graph, weights)
        tf.import_graph_def(graph, name="")
        converted = tfonnx.process_tf_graph(
            announced,
            continue_on_error=True,
            opset=OPSET,
            input_names=[given.name],
            output_names=[result.name],
            const_node_values={name: value.tensor_content for name, value in weights.items()},
            tensors_to_rename={given.name: INPUT, result.name: output},
        )
        with _weights_kept_aside():
            optimized = optimizer.optimize_graph(converted, catch_errors=False)
        return optimized.make_model(f"converted from {servable.signature.model}")


@contextlib.contextmanager
def _weights_kept_aside() -> Iterator[None]:
    """Keeps tf2onnx from writing constants into the messages of their nodes.

    It writes all nodes after each of 25 optimizations, which do not read what is written, and a
    protobuf message frees nothing that was replaced in it. make_model writes the nodes once more.
    """
    from tf2onnx import graph

    node_type: Any = graph.Node
    write = node_type.update_proto

    def write_unless_constant(node: Any, *arguments: Any) -> None:
        if not node.is_const():
            write(node, *arguments)

    node_type.update_proto = write_unless_constant
    try:
        yield
    finally:
        node_type.update_proto = write


def _take_weights(graph: Any) -> dict[str, Any]:
    """Makes placeholders of the large constants of a GraphDef; returns their values by name."""
    weights = {}
    for node in graph.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) > _SMALL_BYTES:
            weights[node.name] = tensor = type(node.attr["value"].tensor)()
            tensor.CopyFrom(node.attr["value"].tensor)
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
            del node.attr["value"]
    return weights


def _announce_weights(graph: Any, weights: Mapping[str, Any]) -> None:
    """Makes constants without values of these placeholders, as tf2onnx wants large ones."""
    for node in graph.node:
        if node.name in weights:
            node.op = "Const"
            del node.attr["shape"]
            empty = node.attr["value"].tensor
            empty.dtype = weights[node.name].dtype
            empty.tensor_shape.CopyFrom(weights[node.name].tensor_shape)


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


def content(model: Any, servable: Servable) -> bytes:
    """Returns the file of a model, checked, with the signature among its properties."""
    import onnx

    onnx.helper.set_model_props(model, {PROPERTY: servable.signature.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
