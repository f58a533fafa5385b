"""What every data set offers to the engine: sizes, an endless training stream, an exact pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorflow as tf

    from preprocessing.errors import DataError


class Dataset(Protocol):
    """A labelled image data set, cut into batches for one tower."""

    @property
    def name(self) -> str:
        """The data set's name, as `--data_name` takes it."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether the images are random, and the same in every batch."""
        ...

    @property
    def num_classes(self) -> int:
        """Real classes, without a background class."""
        ...

    @property
    def batch_augmentation(self) -> Any:
        """What a tower does with every training batch on its device, or None.

        A callable from (images and labels as in `train_batches`, key int32 [2]) to (images,
        (labels, second labels, the first ones' shares float32 [batch])); see `BatchAugmentation`.
        """
        ...

    def num_examples(self, subset: str) -> int:
        """Examples in "train" or "validation".

        Raises:
            DataError: the subset is missing, incomplete or damaged.
        """
        ...

    def train_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset:
        """The endless training stream: epoch 0, epoch 1, ..., in batches that cross the borders.

        The order and the augmentation are pure functions of (seed, epoch, position). A stream
        that starts at example n is the stream from 0 without its first n examples; what is left
        out is not decoded. `shard` is (index, count): the share of one worker, without overlap.
        `subset` is the one whose examples are trained on.

        Returns:
            (images uint8 or float32 [batch_size, image_size, image_size, 3] in 0..255 RGB,
            labels int32 [batch_size] in 0..num_classes-1).

        Raises:
            DataError: the files of the subset are missing or incomplete.
        """
        ...

    def eval_batches(
        self, *, batch_size: int, image_size: int, subset: str = "validation"
    ) -> tf.data.Dataset:
        """Every example once, in the order of the files; the last batch is padded.

        Returns:
            (images as in `train_batches`, labels, is_real bool [batch_size]); where `is_real` is
            false the image and the label mean nothing.

        Raises:
            DataError: the files of the subset are missing or incomplete.
        """
        ...

    def explain(self, error: tf.errors.OpError) -> DataError:
        """Say in one line what an error that left one of the iterators means, naming the file."""
        ...
