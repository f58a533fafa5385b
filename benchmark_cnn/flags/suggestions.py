"""Error messages for unknown flags, with a suggestion where the meaning is clear."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark_cnn.flags import migration
from benchmark_cnn.params.params import FLAGS
from common.commands import nearest

_SIMILARITY = 0.7


def explain(program: str, written: str, known: Iterable[str]) -> str:
    """Returns the error message for an unknown flag.

    Args:
        program: "train.py" or "eval.py".
        written: the flag as typed, with its dashes, without a value.
        known: names of the flags that `program` has.
    """
    name = written.lstrip("-")
    if " " in name:
        flag, _, value = name.partition(" ")
        return f"unknown flag {written}; on a line of a flag file write --{flag}={value.strip()}"
    plain = _without_no(name.replace("-", "_"))
    known = set(known)
    removed = migration.answer(plain)
    if removed:
        return removed
    if plain in FLAGS and plain not in known:
        return f"--{plain} is a flag of {FLAGS[plain].programs[0]}; {program} does not have it"
    meant = meaning(name, known)
    if meant is None:
        return f"unknown flag {written}; {program} --help lists all flags"
    target = meant.partition("=")[0]
    elsewhere = "" if target in known else f" (of {FLAGS[target].programs[0]})"
    return f"unknown flag {written}; did you mean --{meant}{elsewhere}?"


def meaning(name: str, known: Iterable[str]) -> str | None:
    """Returns the flag, perhaps with a value ("dtype=float16"), that `name` stands for."""
    plain = name.replace("-", "_").lower()
    renamed = {old: new.target for old, new in migration.RENAMED.items()}
    candidates = {flag: flag for flag in known} | SYNONYMS | renamed
    for form in (plain, _without_no(plain)):
        if form in candidates:
            return candidates[form]
    # Synonyms are so short that most words resemble one: only flags are compared here.
    return nearest(plain, known, cutoff=_SIMILARITY)


def _without_no(name: str) -> str:
    """Returns the name of a switch that was written --noname; other names unchanged."""
    positive = name.removeprefix("no").removeprefix("_")
    everything = FLAGS.keys() | migration.GONE.keys() | migration.RENAMED.keys()
    is_negated = name.startswith("no") and positive in everything | SYNONYMS.keys()
    return positive if is_negated else name


# Our flag (with a value where theirs is a switch) -> the names of flags of timm, the Model Garden,
# Keras and NVIDIA's examples, with underscores for dashes.
_SYNONYMS_OF = {
    "model": "a arch architecture net network model_name",
    "image_size": "img_size input_size eval_img_size resolution image_shape crop_size size",
    "image_size_schedule": "progressive_resizing image_sizes train_img_sizes train_img_size "
    "train_image_size train_crop_size train_res img_size_schedule resolution_schedule min_res "
    "max_res start_ramp end_ramp",
    "recompute": "grad_checkpointing gradient_checkpointing activation_checkpointing remat "
    "checkpoint_activations recompute_grad memory_efficient",
    "quantization_aware": "qat quantize_aware quantization_aware_training enable_qat use_qat "
    "quantize fake_quant",
    "num_classes": "classes nb_classes num_labels",
    "data_format": "channels_last layout memory_format",
    "dtype": "precision amp_dtype mixed_precision_dtype model_dtype mixed_precision compute_dtype",
    "dtype=float16": "fp16 half use_float16",
    "dtype=bfloat16": "amp use_amp bf16 use_bf16 use_bfloat16 bfloat16",
    "sync_batch_norm": "sync_bn syncbn sync_batchnorm",
    "data_dir": "data data_path input_path dataset_dir dataset_path imagenet_dir root input_dir",
    "data_name": "dataset dataset_name",
    "data_subset": "split train_split val_split dataset_split",
    "batch_size": "b bs batch global_batch_size train_batch_size per_device_batch_size "
    "batch_size_per_gpu minibatch_size validation_batch_size",
    "train_crop": "random_crop random_resized_crop",
    "crop_area": "scale area_range crop_scale",
    "crop_ratio": "ratio aspect_ratio_range aspect_ratio",
    "horizontal_flip": "hflip flip fliplr random_flip random_horizontal_flip mirror",
    "vertical_flip": "vflip flipud random_vertical_flip",
    "rotation_degrees": "rotation degrees rotate random_rotation rotation_range",
    "random_grayscale": "grayscale gray grayscale_prob gray_prob",
    "random_blur": "blur gaussian_blur gaussian_blur_prob blur_prob",
    "eval_method": "crop_mode center_crop eval_crop",
    "eval_crop_fraction": "crop_pct crop_fraction",
    "resize_method": "interpolation train_interpolation resize",
    "augment": "aa augmentation augmenter_name auto_augment autoaugment",
    "augment=color": "color_jitter",
    "augment=trivialaugment": "ta_wide trivial_augment trivialaugment trivial_augment_wide",
    "augment=augmix": "augmix aug_mix",
    "randaugment_num_layers": "ra_n num_ops",
    "randaugment_magnitude": "ra_m magnitude",
    "random_erasing": "reprob random_erase erasing_prob",
    "mixup_alpha": "mixup",
    "cutmix_alpha": "cutmix",
    "augmentation_repeats": "aug_repeats repeated_aug repeated_augment ra_reps ra_sampler "
    "repeated_augmentation batch_augmentation num_repeats",
    "num_data_threads": "j workers num_workers data_threads num_parallel_calls",
    "shuffle_buffer": "shuffle_buffer_size",
    "num_gpus": "gpus gpu ngpus n_gpus num_devices nproc_per_node world_size num_replicas",
    "gpu_indices": "gpu_ids device_ids cuda_devices",
    "variable_update": "strategy distribution_strategy distribute",
    "all_reduce_spec": "all_reduce_alg num_packs all_reduce cross_device_ops",
    "xla": "torchcompile enable_xla use_xla jit_compile jit compile enable_xla_compile",
    "deterministic": "enable_op_determinism determinism",
    "tf_random_seed": "seed random_seed",
    "num_batches": "steps max_steps train_steps num_steps iterations iters num_bench_iter "
    "benchmark",
    "num_epochs": "e epochs max_epochs train_epochs n_epochs",
    "num_warmup_batches": "num_warm_iter warmup_iters bench_warmup",
    "steps_per_loop": "steps_per_execution",
    "gradient_accumulation_steps": "grad_accum_steps accumulate_grad_batches grad_accumulation",
    "eval_every_epochs": "val_interval eval_interval epochs_between_evals num_epochs_between_eval",
    "eval_every_steps": "validation_interval eval_steps val_check_interval",
    "stop_at_top_1_accuracy": "target_accuracy stop_threshold target_top1",
    "learning_rate": "lr base_lr initial_learning_rate lr_init",
    "learning_rate_schedule": "sched scheduler lr_schedule lr_decay_type lr_scheduler",
    "learning_rate_schedule=cosine": "cosine",
    "learning_rate_schedule=cosine_restarts": "sgdr warm_restarts cosine_annealing_warm_restarts",
    "learning_rate_schedule=plateau": "plateau reduce_lr_on_plateau",
    "learning_rate_cycle_epochs": "t_0 t_initial cycle_length first_decay_steps",
    "learning_rate_cycle_multiplier": "lr_cycle_mul t_mult t_mul cycle_mult",
    "learning_rate_cycle_decay": "lr_cycle_decay m_mul cycle_decay",
    "learning_rate_patience_epochs": "patience patience_epochs lr_patience",
    "num_epochs_per_decay": "decay_epochs lr_decay_epochs decay_milestones",
    "learning_rate_decay_factor": "decay_rate lr_decay_rate gamma lr_gamma",
    "minimum_learning_rate": "min_lr",
    "num_learning_rate_warmup_epochs": "warmup_epochs lr_warmup_epochs warmup warmup_steps",
    "learning_rate_base_batch": "lr_base_size base_batch_size",
    "learning_rate_end": "end_lr eta_min final_lr",
    "optimizer": "opt optim optimizer_name",
    "rmsprop_epsilon": "opt_eps epsilon eps",
    "adam_beta1": "opt_betas beta1",
    "adam_beta2": "beta2",
    "weight_decay": "wd decay l2",
    "optimizer=adamw": "adamw",
    "optimizer=lamb": "lamb",
    "optimizer=lion": "lion",
    "freeze": "freeze_layers frozen_layers frozen_stages freeze_at freeze_until freeze_pattern "
    "trainable trainable_layers requires_grad",
    "freeze=backbone": "freeze_backbone linear_probe linear_probing head_only train_head_only",
    "freeze_epochs": "freeze_backbone_epochs head_epochs unfreeze_epoch unfreeze_after",
    "backbone_learning_rate_multiplier": "lr_mult lr_multiplier backbone_lr backbone_lr_mult "
    "backbone_lr_factor",
    "layer_decay": "llrd layer_lr_decay layer_wise_lr_decay layerwise_lr_decay lr_layer_decay",
    "teacher": "kd_model_name kd_model teacher_model teacher_name distill_model",
    "teacher_checkpoint": "teacher_path teacher_ckpt teacher_weights teacher_dir",
    "distillation_temperature": "kd_temperature distill_temperature distillation_tau temperature",
    "hard_label_share": "kd_alpha distillation_alpha task_loss_weight hard_loss_weight",
    "gradient_clip": "clip_grad global_clipnorm grad_clip_norm clipnorm clip_norm grad_clip "
    "max_grad_norm gradient_clip_norm gradient_clip_val",
    "gradient_clip_mode": "clip_mode",
    "loss=bce": "bce_loss binary_cross_entropy",
    "bce_target_threshold": "bce_target_thresh target_threshold",
    "label_smoothing": "smoothing label_smooth",
    "moving_average_decay": "model_ema model_ema_decay ema ema_decay model_ema_warmup use_ema "
    "intratrain_eval_using_ema ema_momentum",
    "moving_average_start_epoch": "ema_start ema_start_epoch model_ema_start",
    "fp16_loss_scale": "loss_scale static_loss_scale",
    "train_dir": "o output output_dir experiment model_dir log_dir logdir save_dir workdir "
    "checkpoint_dir run_dir out_dir results_dir resume",
    "init_checkpoint": "initial_checkpoint resume_checkpoint checkpoint weights "
    "load_weights pretrained_path finetune",
    "save_model_steps": "checkpoint_interval recovery_interval save_steps save_every_steps "
    "save_checkpoints_steps",
    "save_model_secs": "save_checkpoint_freq save_interval_secs",
    "keep_checkpoints": "checkpoint_hist max_to_keep keep_checkpoint_max save_total_limit",
    "log_to": "report_to log_wandb use_wandb wandb mlflow logger loggers log_with tracker",
    "display_every": "log_interval log_steps print_freq p log_every print_every logging_steps",
    "save_summaries_steps": "summary_interval summary_every tensorboard_interval",
    "debug": "verbose traceback",
    "profile_steps": "profile profiler",
    "saved_model": "use_tfhub tfhub tf_hub hub_module saved_model_dir savedmodel",
    "saved_model_mean_std": "mean std mean_std",
    "all_checkpoints": "eval_all continuous_eval",
    "eval_interval_secs": "watch",
}

SYNONYMS = {word: ours for ours, words in _SYNONYMS_OF.items() for word in words.split()}
"""Flag names of other trainers, mapped to ours. They are suggested, never accepted."""
