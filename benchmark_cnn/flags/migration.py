"""The flags of tf_cnn_benchmarks and tf-imagenet, and what they are here.

Each flag of TF_IMAGENET and TF_CNN_BENCHMARKS is in exactly one of KEPT, RENAMED and GONE. The old
names of RENAMED still work where `accepted`; a flag of GONE is answered with its sentence.
docs/migrating.md prints the whole table.
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

# Of earlier versions of tf_cnn_benchmarks, and of its other scripts.
TF_CNN_BENCHMARKS_ELSEWHERE = _names(
    """
    use_nccl pretrain_dir use_multi_device_iterator ml_perf_compliance_logging iters_per_step
    """
)


@dataclass(frozen=True)
class Renamed:
    """A flag that has another name now.

    `accepted`: the old name still works. `when_true`, `when_false`: for a switch that has become a
    value of another flag, that value.
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


# Name -> what differs here; "" for no difference.
KEPT: dict[str, str] = {
    "xla": "off, towers or step; it was a switch of TensorFlow 1's session",
    "model": "some networks have other names: see Networks above",
    "eval_interval_secs": "of eval.py; each checkpoint is evaluated once",
    "forward_only": "",
    "print_training_accuracy": "",
    "batch_size": "per tower, as before; leave it out instead of 0",
    "num_batches": "default: 100 for synthetic images, else 90 epochs",
    "num_epochs": "",
    "stop_at_top_1_accuracy": "",
    "num_warmup_batches": "for benchmarks only; refused with train_dir",
    "num_gpus": "with device=cpu, the number of logical CPU devices",
    "gpu_indices": "selects the GPUs as well as their order",
    "display_every": "",
    "moving_average_decay": "batch-norm statistics are averaged too; updated after the weights",
    "data_dir": "",
    "data_name": "also digits and folder",
    "data_subset": "of both programs; default of eval.py: validation",
    "resize_method": "crop is gone",
    "datasets_repeat_cached_sample": "",
    "local_parameter_device": "only with parameter_server; default: the kind of device",
    "device": "default: auto, a GPU if there is one",
    "data_format": "default: NHWC",
    "num_intra_threads": "default: TensorFlow's choice; 1 with more towers than cores on the CPU",
    "num_inter_threads": "",
    "trace_file": "always in Chrome's format",
    "optimizer": "default: momentum; adamw, lars, lamb and lion are new",
    "learning_rate": "multiplies a mean over the global batch in every mode",
    "piecewise_learning_rate_schedule": "epochs may have decimals",
    "num_epochs_per_decay": "leave it out instead of 0",
    "learning_rate_decay_factor": "leave it out instead of 0",
    "num_learning_rate_warmup_epochs": "with the model's learning rate too",
    "minimum_learning_rate": "",
    "momentum": "an error with sgd, which used to ignore it",
    "rmsprop_decay": "",
    "rmsprop_momentum": "",
    "rmsprop_epsilon": "",
    "adam_beta1": "",
    "adam_beta2": "",
    "adam_epsilon": "",
    "gradient_clip": "limits the global norm; gradient_clip_mode=value clips as before",
    "weight_decay": "kernels only; not divided by the number of GPUs as in tf-imagenet",
    "label_smoothing": "",
    "tf_random_seed": "also seeds data order and dropout",
    "fp16_loss_scale": "the initial scale, 32768 instead of 128; it always adapts",
    "fp16_inc_loss_scale_every_n": "",
    "variable_update": "default: replicated; collective_all_reduce for several machines",
    "all_reduce_spec": "nccl, hierarchical_copy, psgpu, pscpu, ring; NAME:BYTES packs gradients",
    "worker_hosts": "of variable_update=collective_all_reduce, where worker 0 is the chief, or of "
    "ps_hosts",
    "task_index": "in worker_hosts or ps_hosts",
    "ps_hosts": "of variable_update=parameter_server; always asynchronous",
    "job_name": "of ps_hosts: worker, ps, and chief, which is a process of its own",
    "summary_verbosity": "default: 1",
    "save_summaries_steps": "default: display_every",
    "save_model_secs": "default: 600",
    "save_model_steps": "may be combined with save_model_secs",
    "train_dir": "an existing run is resumed, at the next example",
    "eval_dir": "default: train_dir/eval",
    "eval_method": "efficientnet is new; an unknown name is an error",
    "ckpt_scope": "missing variables are an error without ignore_missing_vars",
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
    "datasets_num_private_threads": Renamed(
        "num_data_threads", "0 is not a value of it", accepted=False
    ),
    "agg_small_grads_max_bytes": Renamed(
        "all_reduce_spec", "append the bytes to the algorithm: nccl:32K", accepted=False
    ),
    "xla_compile": Renamed("xla", when_true="towers", when_false="off"),
    "hierarchical_copy": Renamed(
        "all_reduce_spec", "write --all_reduce_spec=hierarchical_copy", accepted=False
    ),
    "use_nccl": Renamed("all_reduce_spec", "write --all_reduce_spec=nccl", accepted=False),
    "pretrain_dir": Renamed("init_checkpoint", "name the checkpoint", accepted=False),
    "tfprof_file": Renamed(
        "profile_steps", "TensorBoard shows the profile in train_dir", accepted=False
    ),
    "resnet_base_lr": Renamed(
        "learning_rate", "with --learning_rate_base_batch=256, for any model", accepted=False
    ),
}

_GRAPH = "TensorFlow 2 has no session and no graph to configure"
_DECODING = "the pipeline decodes one image per core; see --num_data_threads"
_PREFETCH = "batches are always prepared ahead, and prefetched to GPUs"
_READING = "16 files are always read in parallel, which defines the order of the data"
_KMP = "TensorFlow uses oneDNN by default; set the KMP variables in the environment"
_EXACT = "an evaluation uses every example exactly once"
_PROFILER = "use --profile_steps, for TensorBoard"

GONE: dict[str, str] = {
    "eval": "evaluate with eval.py --train_dir=DIR",
    "eval_batch_size": "the result does not depend on it; evaluations in training use batch_size",
    "num_eval_batches": _EXACT,
    "num_eval_epochs": _EXACT,
    "eval_during_training_at_specified_steps": "use --eval_every_steps or --eval_every_epochs",
    "eval_during_training_at_specified_epochs": "use --eval_every_epochs",
    "collect_eval_results_async": "it belonged to SSD, which is not here",
    "freeze_when_forward_only": "--forward_only is compiled as a function anyway",
    "trt_mode": "there is no TensorRT; measure an exported model",
    "trt_max_workspace_size_bytes": "there is no TensorRT; measure an exported model",
    "batch_group_size": _DECODING,
    "autotune_threshold": "set TF_AUTOTUNE_THRESHOLD in the environment",
    "display_perf_ewma": "the printed mean is over all timed steps",
    "use_datasets": "all data goes through tf.data",
    "input_preprocessor": "use --train_crop and --eval_method",
    "gpu_thread_mode": "gpu_private; else set TF_GPU_THREAD_MODE in the environment",
    "per_gpu_thread_count": "2; else set TF_GPU_THREAD_COUNT in the environment",
    "network_topology": "--all_reduce_spec=hierarchical_copy is for the topology of the DGX-1",
    "gradient_repacking": "use --all_reduce_spec=nccl:BYTES, which packs by size",
    "compact_gradient_transfer": "gradients are reduced in float32, which cannot overflow",
    "variable_consistency": "there is only strong consistency",
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
    "use_python32_barrier": "there are no threads that need it",
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
    "batchnorm_persistent": "on; TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT=0 turns it off",
    "sync_on_finish": "set TF_SYNC_ON_FINISH in the environment",
    "staged_vars": "it computed gradients with weights that were one step old",
    "force_gpu_compatible": _GRAPH,
    "fuse_decode_and_crop": "decoding and cropping are always fused",
    "distort_color_in_yiq": "there is one color distortion: --augment=color",
    "enable_optimizations": _GRAPH,
    "rewriter_config": _GRAPH,
    "loss_type_to_report": "total_loss and losses/cross_entropy are both logged",
    "single_l2_loss_op": "weight decay is part of the gradient",
    "use_resource_vars": "TensorFlow 2 has only those",
    "compute_lr_on_cpu": "it is always computed there",
    "sparse_to_dense_grads": "it belonged to NCF, which is not here",
    "backbone_model_path": "it belonged to SSD; a classifier starts from --init_checkpoint",
    "mkl": "TensorFlow uses oneDNN by default",
    "kmp_blocktime": _KMP,
    "kmp_affinity": _KMP,
    "kmp_settings": _KMP,
    "fp16_vars": "variables stay in float32; use --dtype=float16 or bfloat16",
    "fp16_enable_auto_loss_scale": "--dtype=float16 always adapts its loss scale",
    "agg_small_grads_max_group": "use --all_reduce_spec=nccl:BYTES, which packs by size",
    "allreduce_merge_scope": _GRAPH,
    "controller_host": "worker 0 is the chief; with ps_hosts the chief needs no address",
    "server_protocol": "workers speak gRPC, and NCCL between GPUs",
    "cross_replica_sync": "towers always wait for each other",
    "horovod_device": "there is no Horovod; use --variable_update=collective_all_reduce",
    "result_storage": "it wrote to a store inside Google",
    "benchmark_log_dir": "use --train_dir: metrics.csv and run.json are written there",
    "benchmark_test_id": "name the run by its --train_dir",
    "iters_per_step": "it belonged to all_reduce_benchmark.py; compare "
    "--variable_update=independent with replicated for the cost of all-reduce",
}


def answer(name: str) -> str | None:
    """Returns the error message for an old flag that no longer works; None for other names."""
    if name in GONE:
        return f"--{name} is gone: {GONE[name]}"
    renamed = RENAMED.get(name)
    if renamed is None or renamed.accepted:
        return None
    return f"--{name} is now --{renamed.target}: {renamed.note}"
