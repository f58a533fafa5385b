"""Rules of asynchronous training on parameter servers: what it needs, and what it cannot do."""

from __future__ import annotations

from benchmark_cnn.params.data_params import AUTOMATIC
from benchmark_cnn.params.params import FLAGS, ExplicitFlags, Params

_WITH = "with parameter servers (--ps_hosts, or TF_CONFIG with ps)"


def parameter_servers(given: ExplicitFlags) -> list[str]:
    hardware = given.params.hardware
    if hardware.variable_update != "parameter_server":
        return given.errors_unless("variable_update", "parameter_server", ["ps_hosts", "job_name"])
    if not hardware.ps_hosts:
        return given.unused_flag_errors(["job_name"], "without --ps_hosts")
    return [*(_needed(given)), *refused(given.params)]


def refused(params: Params) -> list[str]:
    """Returns a line for each value that an asynchronous run cannot have."""
    run, report, hardware = params.run, params.report, params.hardware
    taught = "a worker would fetch the teacher's weights for each step"
    reasons = {
        "sync_batch_norm": (params.network.sync_batch_norm, "no worker waits for another one"),
        "image_size_schedule": (
            params.network.image_size_schedule,
            "each worker reads one stream of images from the start to the end",
        ),
        "quantization_aware": (
            params.network.quantization_aware,
            "the weights that a worker rounds would be those of other ranges",
        ),
        "dtype": (
            params.network.dtype == "float16",
            "one loss scale would serve workers of different age; use bfloat16 or float32",
        ),
        "gradient_accumulation_steps": (
            run.gradient_accumulation_steps > 1,
            "each worker applies the gradient of each batch",
        ),
        "deterministic": (hardware.deterministic, "the order of the updates is that of a race"),
        "xla": (hardware.xla != "off", "the weights are on other machines"),
        "num_gpus": (
            hardware.num_gpus > 1,
            "a worker has one tower: start a worker for each GPU",
        ),
        "all_reduce_spec": (hardware.all_reduce_spec, "no gradients are summed"),
        "local_parameter_device": (
            hardware.local_parameter_device,
            "the variables are in the memory of the parameter servers",
        ),
        "batch_size": (
            params.data.batch_size == AUTOMATIC,
            "the chief does not know the memory of the workers: give a number",
        ),
        "learning_rate_finder": (
            run.learning_rate_finder,
            "a test of one rate after the other needs one step after the other",
        ),
        "steps_per_loop": (run.steps_per_loop > 1, "each step is scheduled by itself"),
        "teacher": (params.distillation.teacher, taught),
        "teacher_checkpoint": (params.distillation.teacher_checkpoint, taught),
        "forward_only": (run.forward_only, "nothing is read but the weights; leave --ps_hosts out"),
        "on_nonfinite": (
            run.on_nonfinite == "rollback",
            "other workers would still train on the weights of before; use stop or skip",
        ),
        "hang_minutes": (
            run.hang_minutes not in (0, FLAGS["hang_minutes"].default),
            "a worker that does not answer ends the run after 30 s",
        ),
        "summary_verbosity": (
            report.summary_verbosity > 1,
            "gradients and images are not in the chief's memory; use 0 or 1",
        ),
        "profile_steps": (report.profile_steps, "the steps run in other processes"),
        "trace_file": (report.trace_file, "the steps run in other processes"),
        "max_corrupt_records": (
            params.data.max_corrupt_records,
            "workers run no Python, which skips damaged records: repair the data",
        ),
    }
    return [
        f"--{name}={_text(params, name)} cannot be used {_WITH}: {why}"
        for name, (is_set, why) in reasons.items()
        if is_set
    ]


def _needed(given: ExplicitFlags) -> list[str]:
    hardware = given.params.hardware
    lines = []
    if not hardware.worker_hosts:
        lines.append("--ps_hosts needs --worker_hosts=HOST:PORT,..., the workers that train")
    if hardware.job_name is None:
        lines.append("--ps_hosts needs --job_name=chief, worker or ps: what this process is")
    elif hardware.job_name != "chief" and hardware.task_index is None:
        lines.append(
            f"--job_name={hardware.job_name} needs --task_index=N, its place among "
            f"--{hardware.job_name}_hosts, from 0"
        )
    return lines


def _text(params: Params, name: str) -> object:
    value = getattr(getattr(params, FLAGS[name].concern), name)
    words = {number: word for word, number in FLAGS[name].named.items()}
    return str(value).lower() if isinstance(value, bool) else words.get(value, value)
