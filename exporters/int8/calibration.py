"""Chooses the images that calibrate an INT8 file, and others that measure it.

Calibration finds the range of every tensor, so its images must be like those of later use: they
come from the training split, all classes take part alike, and they go through the preprocessing of
the evaluation. The choice depends on the data alone: it is the same on every machine and run.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from download_and_convert_imagenet.records.manifest import read_manifest
from download_and_convert_imagenet.sources.class_folders import folder_source, hold_out
from download_and_convert_imagenet.sources.folders.tree import scan
from download_and_convert_imagenet.sources.image_source import (
    DEFAULT_VALIDATION_FRACTION,
    TRAIN,
    VALIDATION,
    SourceImage,
)
from inference.signature import Signature
from inference.view import View
from preprocessing import registry
from preprocessing.own_photos import photos as own_photos
from preprocessing.records.counts import SKIPPING
from preprocessing.records.shards import is_present

NUM_MEASURED = 500
ADVICE = (
    "--calibration_data=DIR gives images like those that the network will see: TFRecords, class "
    "folders, or a folder of a few hundred photos"
)
NO_DATA = f"int8 is calibrated on images, and there is no data set here: {ADVICE}"
# How a split is read here: a run may draw an image several times in an epoch.
_EACH_ONCE: dict[str, Any] = {
    "shuffle_buffer": 1024,
    "augmentation_repeats": 1,
    "balanced_sampling": False,
    "datasets_repeat_cached_sample": False,
}
# How many records are read for each image, at most, in search of all classes.
_READ_PER_IMAGE = 40
_MOST_CLASSES = 1000


class Sample(NamedTuple):
    """One image.

    Attributes:
        load: Returns the encoded image.
        group: Its class in its data set: the choice is stratified by it.
        label: Its class in the network; -1 if unknown.
        name: Of the image, in messages.
    """

    load: Callable[[], bytes]
    group: int
    label: int
    name: str = ""


@dataclass(frozen=True)
class ImageSet:
    """Images that are decoded each time they are used.

    Attributes:
        signature: Says how the network sees them.
        origin: Where they come from, after "500 images ".
    """

    samples: Sequence[Sample]
    signature: Signature
    origin: str

    def __len__(self) -> int:
        return len(self.samples)

    def __str__(self) -> str:
        return f"{len(self):,} image{'' if len(self) == 1 else 's'} {self.origin}"

    @property
    def labels(self) -> np.ndarray:
        """Classes of the network, int32 [N]; -1 where unknown."""
        return np.array([sample.label for sample in self.samples], np.int32)

    def pixels(self) -> Iterator[np.ndarray]:
        """Yields what the network sees of each, float32 [S, S, 3] in 0..255.

        Resampling may exceed this range, which a camera does not: it would stretch the input's
        scale.

        Raises:
            DataError: One cannot be read or decoded.
        """
        import tensorflow as tf

        make = _view_maker(self.signature.view, self.signature.image_size)
        for sample in self.samples:
            encoded = sample.load()
            try:
                image = make(encoded)
            except tf.errors.InvalidArgumentError as error:
                raise DataError(f"{sample.name} cannot be decoded") from error
            yield np.clip(image, 0, 255)

    def representative(self, batch_size: int) -> Iterator[list[np.ndarray]]:
        """Yields batches as TensorFlow's converter takes them: lists of one [B, S, S, 3].

        The last batch is filled up with its last image.
        """
        pixels = self.pixels()
        while batch := list(itertools.islice(pixels, batch_size)):
            batch += batch[-1:] * (batch_size - len(batch))
            yield [np.stack(batch)]

    def first(self, num_images: int) -> ImageSet:
        """Returns the first images. They are a stratified choice, too."""
        return replace(self, samples=self.samples[:num_images])


class Choice(NamedTuple):
    """Images that calibrate, and images that calibration does not see."""

    calibration: ImageSet
    measured: ImageSet


def choose(
    signature: Signature,
    data: DataParams,
    directory: Path | None,
    num_images: int,
    seed: int = 1,
) -> Choice:
    """Chooses the images of a calibration.

    Args:
        signature: Of the network.
        data: Data flags of its run.
        directory: TFRecords, class folders or photos; None for the data set of the run.
        num_images: As many calibrate, or fewer if there are fewer.
        seed: Another choice for another number.

    Raises:
        UsageError: There is neither a directory nor a data set.
        DataError: The files are missing or damaged.
    """
    if directory is None:
        return _of_run(signature, data, num_images, seed)
    if not directory.is_dir():
        raise DataError(f"--calibration_data={directory} is not a directory")
    directory = _records_of_photos(directory)
    if any(is_present(directory, split) for split in (TRAIN, VALIDATION)):
        labels = _labels_of_records(signature, directory)
        dataset = _records_in(directory, len(labels))
        return _of_records(signature, dataset, labels, num_images, seed)
    return _of_folder(signature, directory, num_images, seed)


def stratified(
    samples: Iterable[Sample], num_images: int, num_groups: int
) -> tuple[list[Sample], list[Sample]]:
    """Takes samples until every group has its share, and returns (chosen, left over).

    Groups too small for their share are made up for by others, round by round. `samples` are read
    no further than needed.
    """
    share = -(-num_images // num_groups)
    counts: Counter[int] = Counter()
    chosen: list[tuple[int, int, Sample]] = []
    # Largest round first, so that those of early rounds stay.
    spare: list[tuple[int, int, Sample]] = []
    for number, sample in enumerate(samples):
        round_number = counts[sample.group]
        counts[sample.group] += 1
        if round_number < share:
            chosen.append((round_number, number, sample))
        else:
            heapq.heappush(spare, (-round_number, -number, sample))
            if len(spare) > 2 * num_images:
                heapq.heappop(spare)
        if len(chosen) == num_images:
            break
    left_over = [(-round_number, -number, sample) for round_number, number, sample in spare]
    left_over.sort(key=_place)
    missing = num_images - len(chosen)
    taken = sorted(chosen + left_over[:missing], key=_place)
    return [sample for *_, sample in taken], [sample for *_, sample in left_over[missing:]]


def _place(entry: tuple[int, int, Sample]) -> tuple[int, int]:
    """Orders samples so that each round has one of each group."""
    return entry[:2]


def _of_run(signature: Signature, data: DataParams, num_images: int, seed: int) -> Choice:
    directory = registry.data_directory(data.data_dir, data.data_name)
    if directory is None:
        raise UsageError(NO_DATA)
    try:
        dataset = registry.open_dataset(replace(data, data_subset=None))
        return _of_records(signature, dataset, range(dataset.num_classes), num_images, seed)
    except DataError as error:
        raise DataError(f"{error}; {ADVICE}") from error


def _records_of_photos(directory: Path) -> Path:
    """Returns the records that a training made of a folder of photos; else the folder."""
    try:
        is_photos = own_photos.holds_photos(directory)
        cache = own_photos.existing(directory) if is_photos else None
    except DataError:  # what a training refuses may calibrate
        return directory
    return directory if cache is None else cache.path


def _labels_of_records(signature: Signature, directory: Path) -> list[int]:
    """Returns the network's class for each class of the records; -1 where that is not known."""
    manifest = read_manifest(directory)
    if manifest is not None:
        return _labels_of(signature, manifest.class_names)
    # Without a manifest the labels may be those of any data set; ImageNet's are the most.
    are_imagenets = bool(signature.wordnet_ids)
    return list(range(_MOST_CLASSES)) if are_imagenets else [-1] * _MOST_CLASSES


def _records_in(directory: Path, num_classes: int) -> Any:
    from preprocessing.images.views import train_image, whole_eval_image
    from preprocessing.record_dataset import RecordDataset

    data = DataParams(data_dir=str(directory))
    train_view = functools.partial(train_image, data)
    return RecordDataset("", num_classes, directory, train_view, whole_eval_image, data)


def _of_records(
    signature: Signature, dataset: Any, labels: Sequence[int], num_images: int, seed: int
) -> Choice:
    """Calibrates on the training split and measures on validation, where there are both."""
    directory: Path = dataset.data_dir
    splits = [split for split in (TRAIN, VALIDATION) if is_present(directory, split)]
    dataset = replace(dataset, data=replace(dataset.data, **_EACH_ONCE))

    def choice(split: str, number: int) -> tuple[list[Sample], list[Sample]]:
        records = dataset.train_records(seed=seed, subset=split)
        records = records.take(min(number * _READ_PER_IMAGE, dataset.num_examples(split)))
        samples = _samples(dataset, split, records, labels)
        return stratified(samples, number, dataset.num_classes)

    if len(splits) == 2:
        calibration, measured = choice(TRAIN, num_images)[0], choice(VALIDATION, NUM_MEASURED)[0]
    else:
        # Those that calibration leaves over.
        chosen, left_over = choice(splits[0], num_images + NUM_MEASURED)
        most = len(chosen) - int(len(chosen) * DEFAULT_VALIDATION_FRACTION)
        calibration, measured = chosen[: min(num_images, most)], chosen[min(num_images, most) :]
        measured += left_over
        measured = measured[:NUM_MEASURED]
    return Choice(
        ImageSet(calibration, signature, f"of the {_in_words(splits[0])} split of {directory}"),
        ImageSet(measured, signature, f"of the {_in_words(splits[-1])} split of {directory}"),
    )


def _in_words(split: str) -> str:
    return {TRAIN: "training", VALIDATION: "validation"}[split]


def _samples(dataset: Any, split: str, records: Any, labels: Sequence[int]) -> Iterator[Sample]:
    """Yields the images of `PlacedRecord`s; raises DataError for a damaged one."""
    import tensorflow as tf

    from preprocessing.records.examples import parse_example

    @tf.autograph.experimental.do_not_convert
    def parsed(placed: Any) -> tuple[Any, ...]:
        example = parse_example(placed.record, dataset.num_classes)
        return example.encoded, example.label, placed.record.file, placed.record.index

    # Stand-ins of damaged records, in a data set that tolerates them, are no images.
    records = records.filter(lambda placed: placed.record.is_real)
    examples = records.map(parsed).as_numpy_iterator()
    while True:
        try:
            encoded, label, file, index = next(examples)
        except StopIteration:
            return
        except Exception as error:
            # Training skips damaged records; a choice of images has no reason to.
            line = str(dataset.explain(error, split))
            raise DataError(line.removesuffix(SKIPPING)) from error
        name = f"{file.decode()}: record {index}: the image"
        yield Sample(functools.partial(bytes, encoded), int(label), labels[int(label)], name)


def _labels_of(signature: Signature, names: Sequence[str]) -> list[int]:
    """Returns the network's class for each class of a data set, by its name; -1 if unknown.

    A name may also be a WordNet id. ImageNet has two classes each of the names crane and maillot:
    in a part of it they stand for neither.
    """
    if tuple(names) == signature.class_names:
        return list(range(len(names)))
    counts = Counter(signature.class_names)
    known = {name: k for k, name in enumerate(signature.class_names) if counts[name] == 1}
    known |= {wnid: label for label, wnid in enumerate(signature.wordnet_ids)}
    return [known.get(name, -1) for name in names]


def _of_folder(signature: Signature, directory: Path, num_images: int, seed: int) -> Choice:
    """Measures on the validation split, or on what the converter would hold out for one."""
    top, _ = scan(directory)
    if top.full_folders:
        source = folder_source(directory)
        splits, names = source.splits, list(source.class_names)
        # A folder named by a WordNet id, where its words may be those of two classes.
        for image in itertools.chain(*splits.values()):
            if image.synset in signature.wordnet_ids:
                names[image.label - 1] = image.synset
        if VALIDATION not in splits or TRAIN not in splits:
            splits = hold_out(next(iter(splits.values())), DEFAULT_VALIDATION_FRACTION)
    elif top.images:
        names = [""]
        images = [SourceImage(Path(file.path).name, 1, "", "", file) for file in top.images]
        splits = hold_out(images, DEFAULT_VALIDATION_FRACTION)
    else:
        raise DataError(f"--calibration_data={directory} {top.describe_files()}")
    labels = _labels_of(signature, names)

    def choice(split: str, number: int) -> list[Sample]:
        images = sorted(splits.get(split, ()), key=lambda image: _position(image, seed))
        samples = (_sample_of_file(image, labels[image.label - 1]) for image in images)
        return stratified(samples, number, len(names))[0]

    origin = f"of {directory}"
    return Choice(
        ImageSet(choice(TRAIN, num_images), signature, origin),
        ImageSet(choice(VALIDATION, NUM_MEASURED), signature, origin),
    )


def _sample_of_file(image: SourceImage, label: int) -> Sample:
    from preprocessing.images import photos

    path = cast("Any", image.location).path
    return Sample(functools.partial(photos.load, path), image.label, label, path)


def _position(image: SourceImage, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {image.name}".encode("utf-8", "surrogateescape")).digest()


@functools.cache
def _view_maker(view: View, image_size: int) -> Callable[[bytes], np.ndarray]:
    """Returns the function from an encoded image to the view of it, float32 [S, S, 3]."""
    import tensorflow as tf

    from preprocessing.images.photos import encoded_view

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.string)])
    def make(encoded: tf.Tensor) -> tf.Tensor:
        return encoded_view(encoded, image_size, **asdict(view))

    return lambda encoded: make(tf.constant(encoded)).numpy()
