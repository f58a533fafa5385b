"""The command line of export.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark_cnn.params.params import FLAGS
from common import commands, paths
from common.commands import above_zero, at_least
from common.errors import DataError, UsageError
from exporters.plan import DEFAULT_CALIBRATION_IMAGES, INT8, QUANTIZATIONS, TYPES, Plan
from inference import weight_flags
from inference.source import DEFAULT_MODEL, Request
from inference.view import WHOLE
from models import registry

_EXAMPLES = """\
examples:
  python export.py --pretrained --output_tflite=lite0.tflite
  python export.py --train_dir=runs/lite0 --output_saved_model_dir=lite0 --output_onnx=lite0.onnx
  python export.py --train_dir=runs/lite0 --output_tflite=lite0_int8.tflite --quantize=int8

docs/export.md describes the files.
"""
# As the official EfficientNet's export_model.py spelled its switches.
_SWITCH = {"true": True, "1": True, "false": False, "0": False}
_OF_INT8 = (
    *("input_type", "output_type", "calibration_data", "calibration_images"),
    *("report", "float_layers"),
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of export.py's flags."""
    parser = commands.OneLineParser(
        prog="export.py",
        description="Write a trained network as SavedModel, TFLite or ONNX, checked on images.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_outputs(parser.add_argument_group("outputs, at least one"))
    _add_network(parser.add_argument_group("the network"))
    _add_quantization(parser.add_argument_group("of --output_tflite"))
    _add_checks(parser.add_argument_group("the check of the files"))
    parser.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    # It chose a layer to export. Known here, so that the answer is ours.
    parser.add_argument("--endpoint_name", help=argparse.SUPPRESS)
    return parser


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--output_saved_model_dir", metavar="DIR", type=paths.argument, help="a SavedModel")
    add("--output_tflite", metavar="FILE", type=paths.argument, help="a .tflite file")
    add("--output_onnx", metavar="FILE", type=paths.argument, help="an .onnx file")
    add("--logits", action="store_true", help="return logits instead of probabilities")
    add(
        "--batch_size",
        type=at_least(0),
        help="images per call; default: any number, which 0 also says, and 1 in a .tflite file",
    )


def _add_network(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    model = f"default: the run's, or {DEFAULT_MODEL} with --pretrained"
    add("--model", "--model_name", metavar="NAME", help=model)
    weight_flags.add(add, "--ckpt_dir")
    add("--enable_ema", nargs="?", const=True, type=_switch, metavar="BOOL", help=argparse.SUPPRESS)
    add("--image_size", type=at_least(1), help="in pixels; default: the run's or the model's")
    methods = FLAGS["resize_method"].choices
    add(
        "--eval_method",
        choices=(*FLAGS["eval_method"].choices, WHOLE),
        help="how photos are cropped, as the files say; default: as in the run's evaluations",
    )
    add("--resize_method", choices=[method for method in methods if method != "round_robin"])


def _add_quantization(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--quantize",
        nargs="?",
        const=INT8,
        type=_quantization,
        metavar="{" + ",".join(QUANTIZATIONS) + "}",
        help=f"default: none, or {INT8} with --calibration_data; also True ({INT8}) and False",
    )
    kinds = f"of --quantize={INT8}"
    add("--input_type", choices=TYPES, help=f"{kinds}; default: uint8, a camera's")
    add("--output_type", choices=TYPES, help=f"{kinds}; default: the input's")
    add(
        *("--calibration_data", "--data_dir"),
        metavar="DIR",
        type=paths.argument,
        help=f"{kinds}; default: the run's training images",
    )
    add(
        *("--calibration_images", "--num_steps"),
        metavar="N",
        type=at_least(1),
        help=f"{kinds}; default: {DEFAULT_CALIBRATION_IMAGES}",
    )
    add(
        "--report",
        metavar="FILE",
        type=paths.argument,
        help=f"{kinds}; writes the error of each layer, worst first, as CSV",
    )
    add(
        "--float_layers",
        metavar="REGEX",
        help=f"{kinds}; layers of the report that compute in float",
    )


def _add_checks(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--check_images",
        metavar="DIR",
        type=paths.argument,
        help="default: validation images of the run, else photographs of installed packages",
    )
    add(
        "--max_difference",
        metavar="X",
        type=above_zero,
        help="the largest that an output may differ from the network's; default: 1e-4 in float32, "
        "5e-3 in float16",
    )


def request(arguments: argparse.Namespace) -> Request:
    """Returns which network and weights are meant.

    Raises:
        UsageError: Flags contradict each other, or one has no effect.
    """
    weight_flags.check(arguments)
    if arguments.enable_ema is not None:
        if arguments.weights is not None:
            raise UsageError("--enable_ema says the same as --weights: leave out one of them")
        arguments.weights = "ema" if arguments.enable_ema else "raw"
    if arguments.pretrained and arguments.weights is not None:
        raise UsageError("--weights (--enable_ema) has no effect with --pretrained")
    return Request(
        num_classes=arguments.num_classes,
        model=_model(arguments.model),
        train_dir=arguments.train_dir,
        weights=arguments.weights,
        weights_dir=arguments.weights_dir,
        image_size=arguments.image_size,
        eval_method=arguments.eval_method,
        resize_method=arguments.resize_method,
        labels_map_file=arguments.labels_map_file,
    )


def plan(arguments: argparse.Namespace) -> Plan:
    """Returns which files are to be written.

    Raises:
        UsageError: There is none, flags contradict each other, or one has no effect.
    """
    if arguments.endpoint_name is not None:
        raise UsageError(
            "--endpoint_name: only the network's own output is exported; --logits exports it "
            "before the softmax"
        )
    if arguments.float_layers == "":
        raise UsageError(
            "--float_layers is empty, which every name contains: give a part of the names of "
            "layers (--report=FILE lists them)"
        )
    made = Plan(
        saved_model_dir=arguments.output_saved_model_dir,
        tflite=arguments.output_tflite,
        onnx=arguments.output_onnx,
        logits=arguments.logits,
        batch_size=arguments.batch_size or None,
        quantize=arguments.quantize or (INT8 if arguments.calibration_data else QUANTIZATIONS[0]),
        check_images=arguments.check_images,
        max_difference=arguments.max_difference,
        calibration_data=arguments.calibration_data,
        calibration_images=arguments.calibration_images or DEFAULT_CALIBRATION_IMAGES,
        input_type=arguments.input_type or TYPES[0],
        output_type=arguments.output_type or arguments.input_type or TYPES[0],
        report=arguments.report,
        float_layers=arguments.float_layers,
    )
    if arguments.quantize is not None and made.tflite is None:
        raise UsageError("--quantize has no effect without --output_tflite")
    given = [name for name in _OF_INT8 if getattr(arguments, name) is not None]
    if given and made.tflite is None:
        raise UsageError(f"--{given[0]} has no effect without --output_tflite")
    if given and made.quantize != INT8:
        raise UsageError(f"--{given[0]} has no effect without --quantize={INT8}")
    made.check()
    if made.quantize == INT8:
        _check_calibration(made.calibration_data, arguments.train_dir)
    return made


def _check_calibration(directory: Path | None, train_dir: str | None) -> None:
    """Refuses at once what the calibration, minutes later, would find missing."""
    from exporters.int8.calibration import NO_DATA

    if directory is None and train_dir is None:
        raise UsageError(NO_DATA)
    if directory is not None and not directory.is_dir():
        raise DataError(f"--calibration_data={directory} is not a directory")


def _model(name: str | None) -> str | None:
    """Returns a name of the registry for one that is spelled with hyphens, as the official ones."""
    ours = name and name.replace("-", "_")
    return ours if ours in registry.names() else name


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return _SWITCH[text.lower()]


def _quantization(text: str) -> str:
    if text.lower() in _SWITCH:
        return INT8 if _SWITCH[text.lower()] else QUANTIZATIONS[0]
    if text not in QUANTIZATIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(QUANTIZATIONS)}")
    return text
