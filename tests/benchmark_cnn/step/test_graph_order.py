"""The graph that runs keeps every read of a variable before or after each of its updates.

A function's reads and updates are ordered by control edges where no tensor orders them, and
TensorFlow's graph optimizer removes edges that it thinks superfluous. What it leaves is looked at
here, because a lost edge shows in a result once in thousands of steps, on a loaded machine.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.eager import context

from benchmark_cnn.distribution import variable_mgr
from benchmark_cnn.params import values
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, ProductNetwork, random_examples

DT_RESOURCE = 20
# Nodes that hand a variable on, and neither read nor write it.
PASSING = {"Identity", "Switch", "_Arg"}
SGD = {"optimizer": "sgd", "weight_decay": 0.01}
EVERYTHING = {
    "optimizer": "momentum",
    "weight_decay": 0.01,
    "gradient_clip": 0.5,
    "moving_average_decay": 0.9,
    "gradient_accumulation_steps": 2,
}


def node_name(edge):
    return edge.removeprefix("^").split(":")[0]


def with_bodies(graphs):
    """The nodes of the optimized graph, and those of the functions in place of the calls of them.

    A call begins when it has all of its inputs, and has results when all of its nodes are done.
    """
    # The optimizer's copies of functions, which lack what is unused or constant, are not collected.
    library = graphs.pre_optimization_graph.library
    bodies = {function.signature.name: function for function in library.function}
    outer = graphs.post_optimization_graph.node
    variables = {n.name for n in outer if n.op == "_Arg" and n.attr["T"].type == DT_RESOURCE}
    nodes = []
    for node in graphs.post_optimization_graph.node:
        body = bodies.get(node.attr["f"].func.name.split("_specialized_for_")[0])
        if body is None:
            nodes.append(node)
            continue
        starts = [f"^{node_name(edge)}" for edge in node.input]
        arguments = {argument.name for argument in body.signature.input_arg}
        taken = [a.name for a in body.signature.input_arg if a.type == DT_RESOURCE]
        edges = [edge for edge in node.input if edge in variables]
        others = arguments.difference(taken)
        nodes += [NodeDef(name=f"{node.name}/{name}", op="Placeholder") for name in others]
        for name, edge in zip(taken, edges, strict=True):
            nodes.append(NodeDef(name=f"{node.name}/{name}", op="Identity", input=[edge]))
        done = []
        for inner in body.node_def:
            assert inner.name not in arguments
            copy = NodeDef()
            copy.CopyFrom(inner)
            copy.name = f"{node.name}/{inner.name}"
            edges = [
                f"{'^' * edge.startswith('^')}{node.name}/{node_name(edge)}" for edge in inner.input
            ]
            copy.input[:] = [*edges, *starts]
            nodes.append(copy)
            done.append(f"^{copy.name}")
        nodes.append(NodeDef(name=node.name, op="NoOp", input=[*starts, *done]))
    return nodes


def ancestors(inputs, name):
    found, waiting = set(), [name]
    while waiting:
        for before in inputs[waiting.pop()]:
            if before not in found:
                found.add(before)
                waiting.append(before)
    return found


def users_of_variables(nodes):
    """Name of a variable's argument -> (names of its reads, names of what else takes it)."""
    by_name = {node.name: node for node in nodes}
    arguments = {n.name for n in nodes if n.op == "_Arg" and n.attr["T"].type == DT_RESOURCE}
    users = defaultdict(lambda: (set(), set()))
    for node in nodes:
        if node.op in PASSING:
            continue
        for edge in node.input:
            origin = node_name(edge)
            while by_name[origin].op in {"Identity", "Switch"} and by_name[origin].input:
                origin = node_name(by_name[origin].input[0])
            if origin in arguments and not edge.startswith("^"):
                users[origin][node.op != "ReadVariableOp"].add(node.name)
    return users


def without_order(nodes):
    """Pairs (read, update) of the same variable of which neither has to wait for the other."""
    inputs = {node.name: [node_name(edge) for edge in node.input] for node in nodes}
    return [
        (read, update)
        for reads, updates in users_of_variables(nodes).values()
        for update in updates
        for read in reads
        if read not in ancestors(inputs, update) and update not in ancestors(inputs, read)
    ]


def graph_of_the_step(build_network, data, **options):
    runtime = context.context()
    runtime.enable_graph_collection()
    try:
        run_steps(build_network, data, steps=1, global_batch=8, **options)
        graphs = runtime.export_run_metadata().function_graphs
    finally:
        runtime.disable_graph_collection()
    return max(graphs, key=lambda graph: len(graph.post_optimization_graph.node))


@pytest.mark.parametrize("num_gpus", [1, 4])
@pytest.mark.parametrize(
    ("build_network", "loss", "flags"),
    [
        (ProductNetwork, ProductNetwork.loss, SGD),
        (lambda: ConvNetwork(batch_norm="tower", auxiliary=True), None, EVERYTHING),
    ],
    ids=["product", "conv"],
)
def test_reads_and_updates_keep_their_order(build_network, loss, flags, num_gpus):
    images, labels = random_examples(16)
    if build_network is ProductNetwork:
        images, labels = np.arange(16, dtype=np.float32).reshape(16, 1, 1, 1), np.zeros(16)
    data = ArrayData(images, labels)
    graph = graph_of_the_step(build_network, data, loss_function=loss, num_gpus=num_gpus, **flags)
    nodes = with_bodies(graph)
    updates = set().union(*(users[1] for users in users_of_variables(nodes).values()))
    assert len([name for name in updates if "ResourceApply" in name]) >= 2 * num_gpus
    assert without_order(nodes) == []


@pytest.mark.parametrize(("num_gpus", "programs"), [(1, 1), (2, 4)])
def test_a_compiled_step_is_one_program_or_two_around_the_all_reduce(num_gpus, programs):
    data = ArrayData(*random_examples(16))
    graph = graph_of_the_step(
        lambda: ConvNetwork(batch_norm="tower", auxiliary=True),
        data,
        num_gpus=num_gpus,
        xla="step",
        **EVERYTHING,
    )
    nodes = graph.post_optimization_graph.node
    assert len([node for node in nodes if node.attr["_XlaMustCompile"].b]) == programs
    assert not [node.name for node in nodes if "ResourceApply" in node.op]


@pytest.fixture
def towers_apart_from_the_host(monkeypatch):
    """Two towers on the second and third CPU device, which stand for GPUs."""

    def make(kind, _towers, **options):
        spec = values.parse_all_reduce_spec("psgpu", "gpu")
        options = {**options, "spec": spec, "parameter_device": "/device:CPU:1"}
        manager = make_manager(kind, ["/device:CPU:1", "/device:CPU:2"], **options)
        manager.shares_memory = False
        return manager

    make_manager = variable_mgr.make
    monkeypatch.setattr(variable_mgr, "make", make)


@pytest.mark.usefixtures("towers_apart_from_the_host")
@pytest.mark.parametrize("flags", [SGD, EVERYTHING], ids=["plain", "everything"])
def test_the_host_waits_for_no_tower_but_for_the_report(flags):
    """A value that a GPU sends to the host waits for all of the work that it was given."""
    data = ArrayData(*random_examples(16))
    graph = graph_of_the_step(
        lambda: ConvNetwork(batch_norm="tower", auxiliary=True), data, num_gpus=2, **flags
    )
    operations, sent = set(), set()
    for part in graph.partition_graphs:
        for node in part.node:
            operations.add(node.op)
            if node.op == "_Send" and node.attr["recv_device"].s.endswith(b"CPU:0"):
                name = node.attr["tensor_name"].s.decode().split("_", 2)[2]
                sent.add(name.rpartition("/")[0] or name)
    assert "Timestamp" not in operations
    assert len(graph.partition_graphs) == 3
    # The report's values; and the end of the updates, which TensorFlow places where it likes.
    reports = {name for name in sent if name.startswith(("concat", "cond/", "global_norm"))}
    assert sent - reports <= {f"GroupCrossDeviceControlEdges_{tower}" for tower in range(2)}
