"""Flags of the output of a run: checkpoints, reports, evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_log_to, parse_mean_std, parse_profile_steps
from checkpoints.restore_plan import parse_ckpt_scope

# Test-time augmentation (preprocessing/images/tta.py): name -> number of views of an image.
NONE, LETTERBOX, KEEP_ASPECT = "none", "letterbox", "keep-aspect"
ONE_CROP, TEN_CROP, FLIP = "1-crop", "10-crop", "flip"
NUM_VIEWS = {NONE: 1, LETTERBOX: 1, KEEP_ASPECT: 1, ONE_CROP: 1, TEN_CROP: 10, FLIP: 2}


@dataclass(frozen=True)
class CheckpointParams:
    """The run directory and the checkpoints in it."""

    train_dir: str | None = flag(
        None,
        "Directory of the run, with checkpoints, logs and parameters. An existing run is resumed. "
        "May be on S3 or Google Cloud Storage: s3://BUCKET/NAME, gs://BUCKET/NAME.",
        when_none="nothing is saved",
        eval=True,
        is_path=True,
        may_be_remote=True,
    )
    save_model_secs: float = flag(
        600.0, "Seconds between checkpoints; 0 turns saving by time off.", lower=0
    )
    save_model_steps: int | None = flag(
        None, "Updates between checkpoints.", lower=1, when_none="none by steps"
    )
    keep_checkpoints: int = flag(
        5, "Number of newest checkpoints to keep, in addition to the best one.", lower=1
    )
    fresh: bool = flag(False, "Never resume: it is an error if train_dir already holds a run.")
    init_checkpoint: str | None = flag(
        None,
        "Checkpoint with the initial weights of a new run; ignored when a run is resumed.",
        when_none="random weights",
        is_path=True,
    )
    pretrained: bool = flag(
        False,
        "Use the model's published weights: train.py starts a new run from them, eval.py evaluates "
        "them.",
        eval=True,
    )


@dataclass(frozen=True)
class ReportParams:
    """What a run prints and logs."""

    display_every: int = flag(10, "Steps between printed lines.", lower=1, eval=True)
    save_summaries_steps: int | None = flag(
        None,
        "Updates between rows of metrics.csv and between TensorBoard summaries.",
        lower=1,
        when_none="display_every",
    )
    summary_verbosity: int = flag(
        1,
        "TensorBoard output: 0 nothing, 1 scalars, 2 also a histogram of all gradients, 3 also "
        "histograms of each variable, and images.",
        lower=0,
        upper=3,
    )
    log_to: str | None = flag(
        None,
        "Loggers besides TensorBoard and metrics.csv, several as in wandb,json: json (log.jsonl in "
        "train_dir), mlflow (files), wandb (offline records). They need no network.",
        when_none="no other loggers",
        syntax=parse_log_to,
    )
    print_training_accuracy: bool = flag(
        False, "Print top-1 and top-5 accuracy on the training batches."
    )
    trace_file: str | None = flag(
        None, "File for a Chrome trace of one step.", when_none="no trace", is_path=True
    )
    profile_steps: str | None = flag(
        None,
        'First and last step to profile for TensorBoard, for example "10,15".',
        when_none="no profile",
        syntax=parse_profile_steps,
    )
    debug: bool = flag(False, "Print the traceback of an error.", eval=True)


@dataclass(frozen=True)
class EvaluationParams:
    """Evaluations of a run's checkpoints, or of a SavedModel, by eval.py."""

    saved_model: str | None = flag(
        None,
        "Directory of a SavedModel to evaluate instead of checkpoints, such as one of TensorFlow "
        "Hub.",
        when_none="the checkpoints of train_dir",
        is_path=True,
    )
    saved_model_mean_std: str | None = flag(
        None,
        'Mean and standard deviation: the SavedModel is fed (pixel - mean) / std. "0,255" gives '
        '0..1, "127.5,127.5" gives -1..1; the exports of EfficientNet\'s official program take '
        '"127,128".',
        when_none="0,1 for an export of export.py, 0,255 for others",
        syntax=parse_mean_std,
    )
    eval_dir: str | None = flag(
        None, "Directory of the evaluation's logs.", when_none="train_dir/eval", is_path=True
    )
    eval_interval_secs: float = flag(
        0.0, "Seconds between checks for a new checkpoint; 0 evaluates once.", lower=0
    )
    tta: str | None = flag(
        None,
        "How the network sees an image: resized, with gray bars, cropped, or several views, whose "
        "mean probabilities are the answer.",
        choices=tuple(NUM_VIEWS),
        when_none="as the evaluation of the training does",
    )
    all_checkpoints: bool = flag(
        False, "Evaluate every checkpoint of the run, not only the newest."
    )
    ckpt_scope: str | None = flag(
        None,
        '"old:new": read a checkpoint whose variable names have `new` where the network has `old`, '
        'for example "v/cg/:v0/cg/".',
        when_none="names as they are",
        syntax=parse_ckpt_scope,
    )
    ignore_missing_vars: bool = flag(
        False, "Accept a checkpoint that lacks variables; they keep their initial values."
    )
