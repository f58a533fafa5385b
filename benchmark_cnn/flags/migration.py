"""Every flag of the two ancestors, and what became of it.

TF_IMAGENET and TF_CNN_BENCHMARKS list the ancestors' flags; each is in exactly one of KEPT, RENAMED
and GONE. A flag of RENAMED is understood under its old name where `accepted`; one of GONE is
answered with its line. docs/migrating.md prints the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import boolean


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TF_IMAGENET = _names(
    """
    model eval eval_interval_secs forward_only print_training_accuracy batch_size batch_group_size
    num_batches num_warmup_batches autotune_threshold num_gpus gpu_indices display_every
    moving_average_decay data_dir data_name data_subset resize_method distortions use_datasets
    cache_data local_parameter_device device data_format num_intra_threads num_inter_threads
    trace_file graph_file optimizer learning_rate num_epochs_per_decay learning_rate_decay_factor
    minimum_learning_rate momentum rmsprop_decay rmsprop_momentum rmsprop_epsilon gradient_clip
    weight_decay label_smoothing gpu_memory_frac_for_testing use_tf_layers tf_random_seed
    winograd_nonfused sync_on_finish staged_vars force_gpu_compatible xla fuse_decode_and_crop
    distort_color_in_yiq mkl kmp_blocktime kmp_affinity kmp_settings use_fp16 fp16_loss_scale
    fp16_vars variable_update all_reduce_spec job_name ps_hosts worker_hosts controller_host
    task_index server_protocol cross_replica_sync summary_verbosity save_summaries_steps
    save_model_secs train_dir eval_dir eval_method ckpt_scope result_storage
    """
)

TF_CNN_BENCHMARKS = _names(
    """
    model eval eval_interval_secs eval_during_training_every_n_steps
    eval_during_training_every_n_epochs eval_during_training_at_specified_steps
    eval_during_training_at_specified_epochs forward_only freeze_when_forward_only
    print_training_accuracy batch_size eval_batch_size batch_group_size num_batches
    num_eval_batches num_epochs num_eval_epochs stop_at_top_1_accuracy collect_eval_results_async
    num_warmup_batches autotune_threshold num_gpus gpu_indices display_every display_perf_ewma
    data_dir data_name resize_method distortions use_datasets input_preprocessor gpu_thread_mode
    per_gpu_thread_count hierarchical_copy network_topology gradient_repacking
    compact_gradient_transfer variable_consistency datasets_repeat_cached_sample
    local_parameter_device device data_format num_intra_threads num_inter_threads use_numa_affinity
    trace_file use_chrome_trace_format tfprof_file graph_file partitioned_graph_file_prefix
    optimizer init_learning_rate piecewise_learning_rate_schedule num_epochs_per_decay
    learning_rate_decay_factor num_learning_rate_warmup_epochs minimum_learning_rate resnet_base_lr
    momentum rmsprop_decay rmsprop_momentum rmsprop_epsilon adam_beta1 adam_beta2 adam_epsilon
    gradient_clip weight_decay gpu_memory_frac_for_testing use_unified_memory timestamped_allocator
    gpu_kt_max_interval gpu_kt_max_bytes gpu_kt_max_pending use_tf_layers tf_random_seed debugger
    use_python32_barrier ml_perf datasets_use_prefetch datasets_prefetch_buffer_size
    datasets_num_private_threads datasets_use_caching datasets_parallel_interleave_cycle_length
    datasets_sloppy_parallel_interleave datasets_parallel_interleave_prefetch
    multi_device_iterator_max_buffer_size winograd_nonfused batchnorm_persistent sync_on_finish
    staged_vars force_gpu_compatible allow_growth xla xla_compile fuse_decode_and_crop
    distort_color_in_yiq enable_optimizations rewriter_config loss_type_to_report single_l2_loss_op
    use_resource_vars compute_lr_on_cpu sparse_to_dense_grads mkl kmp_blocktime kmp_affinity
    kmp_settings use_fp16 fp16_loss_scale fp16_vars fp16_enable_auto_loss_scale
    fp16_inc_loss_scale_every_n variable_update all_reduce_spec agg_small_grads_max_bytes
    agg_small_grads_max_group allreduce_merge_scope job_name ps_hosts worker_hosts controller_host
    task_index server_protocol cross_replica_sync horovod_device summary_verbosity
    save_summaries_steps save_model_secs save_model_steps max_ckpts_to_keep train_dir eval_dir
    backbone_model_path trt_mode trt_max_workspace_size_bytes benchmark_log_dir benchmark_test_id
    """
)

# Of earlier versions of tf_cnn_benchmarks, and of the scripts beside its main one.
TF_CNN_BENCHMARKS_ELSEWHERE = _names(
    """
    use_nccl pretrain_dir use_multi_device_iterator ml_perf_compliance_logging iters_per_step
    """
)


@dataclass(frozen=True)
class Renamed:
    """A flag that has another name now.

    `accepted`: the old name is still understood. `when_true`, `when_false`: for a switch that has
    become a value of another flag, that value.
    """

    target: str
    note: str = ""
    accepted: bool = True
    when_true: str = ""
    when_false: str = ""

    def translate(self, text: str) -> str:
        """Returns the value of `target` that `text` stands for as a value of the old flag."""
        if not self.when_true:
            return text
        return self.when_true if boolean(text) else self.when_false


# Name -> what differs from the ancestors, or "" where nothing does.
KEPT: dict[str, str] = {
    "model": "some networks have other names: see Networks above",
    "eval_interval_secs": "of eval.py; a checkpoint is evaluated once, not again and again",
    "forward_only": "",
    "print_training_accuracy": "",
    "batch_size": "per tower, as before; no 0: leave it out for the model's",
    "num_batches": "without it and num_epochs 100 of synthetic images, or 90 epochs",
    "num_epochs": "",
    "stop_at_top_1_accuracy": "",
    "num_warmup_batches": "for benchmarks only: none, and refused, together with train_dir",
    "num_gpus": "with device=cpu, the number of logical CPU devices",
    "gpu_indices": "chooses the GPUs as well as their order",
    "display_every": "",
    "moving_average_decay": "batch-norm statistics are averaged too; updated after the weights",
    "data_dir": "",
    "data_name": "also digits and folder",
    "data_subset": "read by both programs; validation by default for eval.py",
    "resize_method": "crop is gone",
    "datasets_repeat_cached_sample": "",
    "local_parameter_device": "only with parameter_server; not gpu by default, but device's kind",
    "device": "auto by default: a GPU where there is one",
    "data_format": "NHWC by default, not NCHW",
    "num_intra_threads": "TensorFlow's choice, and 1 with more towers than cores on the CPU",
    "num_inter_threads": "",
    "trace_file": "always in Chrome's format",
    "optimizer": "momentum by default, not sgd; lars is new",
    "learning_rate": "multiplies a mean over the global batch in every mode",
    "piecewise_learning_rate_schedule": "epochs may have decimals",
    "num_epochs_per_decay": "no 0: leave it out for no decay",
    "learning_rate_decay_factor": "no 0: leave it out for no decay",
    "num_learning_rate_warmup_epochs": "with the model's learning rate too",
    "minimum_learning_rate": "",
    "momentum": "an error with sgd, which ignored it",
    "rmsprop_decay": "",
    "rmsprop_momentum": "",
    "rmsprop_epsilon": "",
    "adam_beta1": "",
    "adam_beta2": "",
    "adam_epsilon": "",
    "gradient_clip": "a global norm by default; gradient_clip_mode=value is the ancestors' way",
    "weight_decay": "kernels only; not divided by the number of GPUs as in tf-imagenet",
    "label_smoothing": "",
    "tf_random_seed": "also seeds data order and dropout",
    "xla_compile": "",
    "fp16_loss_scale": "where the scale starts: 32768, not 128; it always adapts",
    "fp16_inc_loss_scale_every_n": "",
    "variable_update": "replicated by default, not parameter_server; several machines planned",
    "all_reduce_spec": "nccl, hierarchical_copy, psgpu, pscpu; NAME:BYTES packs small gradients",
    "summary_verbosity": "1 by default, not 0",
    "save_summaries_steps": "display_every by default, not 0",
    "save_model_secs": "600 by default, not 0",
    "save_model_steps": "may be combined with save_model_secs",
    "train_dir": "a run found there is resumed, with the data where it stopped",
    "eval_dir": "train_dir/eval by default",
    "eval_method": "efficientnet is new; an unknown name is an error",
    "ckpt_scope": "variables that stay unfilled are an error unless ignore_missing_vars",
}

RENAMED: dict[str, Renamed] = {
    "init_learning_rate": Renamed("learning_rate"),
    "use_fp16": Renamed(
        "dtype", "true is float16, false is float32", when_true="float16", when_false="float32"
    ),
    "max_ckpts_to_keep": Renamed("keep_checkpoints"),
    "distortions": Renamed(
        "augment", "true is color, false is none", when_true="color", when_false="none"
    ),
    "cache_data": Renamed("datasets_repeat_cached_sample"),
    "eval_during_training_every_n_steps": Renamed("eval_every_steps"),
    "eval_during_training_every_n_epochs": Renamed("eval_every_epochs"),
    "allow_growth": Renamed("allow_memory_growth"),
    "datasets_num_private_threads": Renamed("num_data_threads", "without its 0", accepted=False),
    "agg_small_grads_max_bytes": Renamed(
        "all_reduce_spec", "write the bytes behind the algorithm: nccl:32K", accepted=False
    ),
    "hierarchical_copy": Renamed(
        "all_reduce_spec", "write --all_reduce_spec=hierarchical_copy", accepted=False
    ),
    "use_nccl": Renamed("all_reduce_spec", "write --all_reduce_spec=nccl", accepted=False),
    "pretrain_dir": Renamed("init_checkpoint", "name the checkpoint", accepted=False),
    "tfprof_file": Renamed(
        "profile_steps", "TensorBoard shows the profile below train_dir", accepted=False
    ),
    "resnet_base_lr": Renamed(
        "learning_rate", "with --learning_rate_base_batch=256, for any model", accepted=False
    ),
}

_SEVERAL_MACHINES = "training on several machines is planned, but not in this version yet"
_GRAPH = "there is no session and no graph to configure"
_DECODING = "the pipeline decodes one image per core at a time; see --num_data_threads"
_PREFETCH = "batches are always prepared ahead, and prefetched to GPUs"
_READING = "16 files are always read at a time, as part of what defines the order of the data"
_KMP = "TensorFlow uses oneDNN by itself; set the KMP variables in the environment"
_EXACT = "an evaluation takes every example exactly once"
_PROFILER = "use --profile_steps, which TensorBoard shows"

GONE: dict[str, str] = {
    "eval": "evaluate with eval.py --train_dir=DIR",
    "eval_batch_size": "the result does not depend on it; evaluations in training use batch_size",
    "num_eval_batches": _EXACT,
    "num_eval_epochs": _EXACT,
    "eval_during_training_at_specified_steps": "use --eval_every_steps or --eval_every_epochs",
    "eval_during_training_at_specified_epochs": "use --eval_every_epochs",
    "collect_eval_results_async": "it belonged to SSD, and this program classifies images",
    "freeze_when_forward_only": "--forward_only is compiled as a function anyway",
    "trt_mode": "there is no TensorRT; measure an exported model",
    "trt_max_workspace_size_bytes": "there is no TensorRT; measure an exported model",
    "batch_group_size": _DECODING,
    "autotune_threshold": "set TF_AUTOTUNE_THRESHOLD in the environment",
    "display_perf_ewma": "the printed mean is over all timed steps",
    "use_datasets": "all data goes through tf.data",
    "input_preprocessor": "use --train_crop and --eval_method",
    "gpu_thread_mode": "set TF_GPU_THREAD_MODE in the environment",
    "per_gpu_thread_count": "set TF_GPU_THREAD_COUNT in the environment",
    "network_topology": "--all_reduce_spec=hierarchical_copy knows one topology, the DGX-1's",
    "gradient_repacking": "use --all_reduce_spec=nccl:BYTES, which packs by size",
    "compact_gradient_transfer": "gradients are reduced in float32, so that nothing overflows",
    "variable_consistency": "updates are never a step late; only strong consistency is left",
    "use_numa_affinity": "start the program under numactl",
    "use_chrome_trace_format": "--trace_file is always in Chrome's format",
    "graph_file": f"{_GRAPH}; {_PROFILER}",
    "partitioned_graph_file_prefix": f"{_GRAPH}; {_PROFILER}",
    "gpu_memory_frac_for_testing": "use --allow_memory_growth",
    "use_unified_memory": "set TF_FORCE_UNIFIED_MEMORY=1 in the environment",
    "timestamped_allocator": _GRAPH,
    "gpu_kt_max_interval": _GRAPH,
    "gpu_kt_max_bytes": _GRAPH,
    "gpu_kt_max_pending": _GRAPH,
    "use_tf_layers": "there is one implementation of each layer",
    "debugger": "TensorFlow 2 has no tfdbg session; use --debug for the traceback of an error",
    "use_python32_barrier": "there are no threads that would need it",
    "ml_perf": "choose the crop with --train_crop; the model normalizes as it was published",
    "ml_perf_compliance_logging": "MLPerf has retired ResNet-50; use --stop_at_top_1_accuracy",
    "datasets_use_prefetch": _PREFETCH,
    "datasets_prefetch_buffer_size": _PREFETCH,
    "datasets_use_caching": "the operating system's file cache does it",
    "datasets_parallel_interleave_cycle_length": _READING,
    "datasets_sloppy_parallel_interleave": "the order of the data depends on the seed alone",
    "datasets_parallel_interleave_prefetch": _READING,
    "multi_device_iterator_max_buffer_size": _PREFETCH,
    "use_multi_device_iterator": _PREFETCH,
    "winograd_nonfused": "set TF_ENABLE_WINOGRAD_NONFUSED in the environment",
    "batchnorm_persistent": "set TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT in the environment",
    "sync_on_finish": "set TF_SYNC_ON_FINISH in the environment",
    "staged_vars": "it trained on weights that were a step old",
    "force_gpu_compatible": _GRAPH,
    "xla": "use --xla_compile, which compiles each tower and not what happens to fit",
    "fuse_decode_and_crop": "decoding and cropping are always fused",
    "distort_color_in_yiq": "there is one color distortion: --augment=color",
    "enable_optimizations": _GRAPH,
    "rewriter_config": _GRAPH,
    "loss_type_to_report": "total_loss and losses/cross_entropy are both logged",
    "single_l2_loss_op": "weight decay is part of the gradient",
    "use_resource_vars": "TensorFlow 2 has no others",
    "compute_lr_on_cpu": "it always is",
    "sparse_to_dense_grads": "it belonged to NCF, and this program classifies images",
    "backbone_model_path": "it belonged to SSD; a classifier starts from --init_checkpoint",
    "mkl": "TensorFlow uses oneDNN by itself",
    "kmp_blocktime": _KMP,
    "kmp_affinity": _KMP,
    "kmp_settings": _KMP,
    "fp16_vars": "variables stay in float32; use --dtype=float16 or bfloat16",
    "fp16_enable_auto_loss_scale": "--dtype=float16 always adapts its loss scale",
    "agg_small_grads_max_group": "use --all_reduce_spec=nccl:BYTES, which packs by size",
    "allreduce_merge_scope": _GRAPH,
    "job_name": _SEVERAL_MACHINES,
    "ps_hosts": _SEVERAL_MACHINES,
    "worker_hosts": _SEVERAL_MACHINES,
    "controller_host": _SEVERAL_MACHINES,
    "task_index": _SEVERAL_MACHINES,
    "server_protocol": _SEVERAL_MACHINES,
    "cross_replica_sync": "towers always wait for each other",
    "horovod_device": f"there is no Horovod; {_SEVERAL_MACHINES}",
    "result_storage": "it wrote to a store inside Google",
    "benchmark_log_dir": "use --train_dir: metrics.csv and run.json are written there",
    "benchmark_test_id": "name the run by its --train_dir",
    "iters_per_step": "it belonged to all_reduce_benchmark.py; use --variable_update=independent "
    "beside replicated to see what the exchange costs",
}


def answer(name: str) -> str | None:
    """The line for an ancestor's flag that is not understood any more; None for other names."""
    if name in GONE:
        return f"--{name} is gone: {GONE[name]}"
    renamed = RENAMED.get(name)
    if renamed is None or renamed.accepted:
        return None
    return f"--{name} is now --{renamed.target}: {renamed.note}"
