"""Names of variables against keys of checkpoints, with the 247 names of EfficientNet-Lite0."""

import pytest

from checkpoints.restore_plan import (
    INITIALIZATION,
    RESUMPTION,
    keys_to_try,
    resized_head,
    restore_plan,
    unused_weights,
)
from common.errors import DataError, UsageError

TWIN = "/ExponentialMovingAverage"


def batch_norm(scope, channels):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{scope}/{name}": (channels,) for name in names}


def lite0_shapes(root="efficientnet-lite0", num_classes=1000, channels=32):
    """247 names as in the official checkpoints; block widths are made up, names are not."""
    shapes = {"stem/conv2d/kernel": (3, 3, 3, channels)}
    shapes |= batch_norm("stem/tpu_batch_normalization", channels)
    for i in range(16):
        block = f"blocks_{i}"
        convs = ("conv2d",) if i == 0 else ("conv2d", "conv2d_1")
        shapes |= {f"{block}/{conv}/kernel": (1, 1, channels, channels) for conv in convs}
        shapes[f"{block}/depthwise_conv2d/depthwise_kernel"] = (3, 3, channels, 1)
        for suffix in ("", "_1") if i == 0 else ("", "_1", "_2"):
            shapes |= batch_norm(f"{block}/tpu_batch_normalization{suffix}", channels)
    shapes["head/conv2d/kernel"] = (1, 1, channels, 1280)
    shapes |= batch_norm("head/tpu_batch_normalization", 1280)
    shapes |= {"head/dense/kernel": (1280, num_classes), "head/dense/bias": (num_classes,)}
    return {f"{root}/{name}": shape for name, shape in shapes.items()}


def with_twins(shapes):
    return shapes | {name + TWIN: shape for name, shape in shapes.items()}


def training_checkpoint(shapes):
    """What the official trainer saves: weights, averages, RMSProp's two slots, the step."""
    trainable = {n: s for n, s in shapes.items() if "moving_" not in n}
    slots = {f"{n}/{slot}": s for n, s in trainable.items() for slot in ("RMSProp", "RMSProp_1")}
    return with_twins(shapes) | slots | {"global_step": ()}


def report(*args, **kwargs):
    with pytest.raises(DataError) as caught:
        restore_plan(*args, **kwargs)
    return str(caught.value)


WANTED = lite0_shapes()


def test_lite0_has_the_published_number_of_tensors():
    assert len(WANTED) == 247


def test_raw_weights_are_read_by_their_own_names():
    plan = restore_plan(WANTED, training_checkpoint(WANTED))
    assert plan == {name: name for name in WANTED}


def test_averages_are_read_from_the_twins():
    plan = restore_plan(WANTED, training_checkpoint(WANTED), moving_average=True)
    assert plan == {name: name + TWIN for name in WANTED}


def test_statistics_without_a_twin_are_read_plain():
    trainable = {n: s for n, s in WANTED.items() if "moving_" not in n}
    available = WANTED | {n + TWIN: s for n, s in trainable.items()}
    plan = restore_plan(WANTED, available, moving_average=True)
    assert plan == {n: n + TWIN if n in trainable else n for n in WANTED}


def test_a_weight_without_an_average_is_missing_among_weights_that_have_one():
    kernel = "efficientnet-lite0/head/dense/kernel"
    available = with_twins(WANTED)
    del available[kernel + TWIN]
    message = report(WANTED, available, moving_average=True)
    assert message.startswith("1 of 247 variables are not in the checkpoint: it has no moving")
    assert f"missing: {kernel}" in message


def test_a_checkpoint_without_averages_says_so():
    message = report(WANTED, WANTED | {"global_step": ()}, moving_average=True)
    assert "the checkpoint has no moving averages" in message
    assert "leave out --moving_average_decay" in message


def test_a_checkpoint_of_averages_only_says_so():
    averages = {name + TWIN: shape for name, shape in WANTED.items()}
    message = report(WANTED, averages)
    assert "holds their moving averages only" in message
    assert "unused" not in message
    assert len(restore_plan(WANTED, averages, moving_average=True)) == 247


def test_resume_asks_for_slots_and_counters_like_for_any_variable():
    everything = training_checkpoint(WANTED)
    assert restore_plan(everything, everything) == {name: name for name in everything}


def test_resume_with_another_optimizer_names_the_flag():
    momentum = {f"{n}/Momentum": s for n, s in WANTED.items() if "moving_" not in n}
    message = report(WANTED | momentum, training_checkpoint(WANTED))
    assert "give the --optimizer" in message
    # 247 tensors less 2 moving statistics for each of the 49 batch norms.
    assert message.startswith("149 of 396 variables are not in the checkpoint")


class TestScope:
    def test_every_occurrence_is_replaced(self):
        assert keys_to_try("a/x/a/y", "a/:b/") == ["b/x/b/y"]

    def test_old_is_a_plain_substring(self):
        assert keys_to_try("cone.1/kernel", "e.1:e_1") == ["cone_1/kernel"]
        assert keys_to_try("cone11/kernel", "e.1:e_1")[0] == "cone11/kernel"

    def test_an_empty_new_strips(self):
        assert keys_to_try("v/cg/conv0/kernel", "v/cg/:") == ["conv0/kernel"]
        assert keys_to_try("conv0/kernel", "v/cg/:") == ["conv0/kernel"]

    def test_an_empty_old_prefixes(self):
        assert keys_to_try("conv0/kernel", ":v0/cg/")[0] == "v0/cg/conv0/kernel"

    @pytest.mark.parametrize("scope", ["v/cg/:v0/cg/", "v/cg:v0/cg", ":v0/cg/", ":v0/cg"])
    @pytest.mark.parametrize("moving_average", [False, True])
    def test_the_command_for_replicated_checkpoints_of_tf_imagenet(self, scope, moving_average):
        theirs = training_checkpoint({f"v0/cg/{n}": s for n, s in WANTED.items()})
        plan = restore_plan(WANTED, theirs, ckpt_scope=scope, moving_average=moving_average)
        end = TWIN if moving_average else ""
        assert plan == {name: f"v0/cg/{name}{end}" for name in WANTED}

    def test_a_name_without_old_comes_first_as_it_is(self):
        """`head/dense:head/fc` renames one layer; the others keep their names."""
        theirs = {n.replace("head/dense", "head/fc"): s for n, s in WANTED.items()}
        plan = restore_plan(WANTED, theirs, ckpt_scope="head/dense:head/fc")
        assert plan == {n: n.replace("head/dense", "head/fc") for n in WANTED}

    @pytest.mark.parametrize("scope", ["v/cg/", "", ":", "a:b:c", "::b"])
    def test_not_of_the_form_old_new(self, scope):
        with pytest.raises(UsageError, match=f"--ckpt_scope={scope} is not old:new"):
            restore_plan(WANTED, WANTED, ckpt_scope=scope)

    @pytest.mark.parametrize("moving_average", [False, True])
    def test_the_fitting_scope_is_suggested_and_works(self, moving_average):
        theirs = with_twins({f"v0/cg/{n}": s for n, s in WANTED.items()})
        message = report(WANTED, theirs, moving_average=moving_average)
        assert "try --ckpt_scope=:v0/cg/\n" in message
        plan = restore_plan(WANTED, theirs, ckpt_scope=":v0/cg/", moving_average=moving_average)
        assert len(plan) == 247

    def test_a_scope_that_loses_what_fits_already_is_not_suggested(self):
        message = report({"a/w": (), "b/w": ()}, {"a/w": (), "x/b/w": ()})
        assert "try --ckpt_scope" not in message

    def test_a_prefix_with_a_colon_is_not_suggested(self):
        assert "try --ckpt_scope" not in report({"a/w": ()}, {"x:0/a/w": ()})

    def test_stripping_is_suggested_and_works(self):
        theirs = {n.removeprefix("efficientnet-lite0/"): s for n, s in WANTED.items()}
        assert "try --ckpt_scope=efficientnet-lite0/:\n" in report(WANTED, theirs)
        assert len(restore_plan(WANTED, theirs, ckpt_scope="efficientnet-lite0/:")) == 247


class TestMissing:
    def test_ten_are_listed_and_all_are_counted(self):
        blocks = {n: s for n, s in WANTED.items() if "blocks_3/" not in n}
        message = report(WANTED, training_checkpoint(blocks))
        assert message.startswith("15 of 247 variables are not in the checkpoint")
        (line,) = [line for line in message.splitlines() if "missing:" in line]
        assert line.count("efficientnet-lite0/blocks_3/") == 10
        assert line.endswith(" and 5 more")

    def test_unused_weights_are_listed_without_slots_averages_and_counters(self):
        theirs = {n.replace("dense", "predictions"): s for n, s in WANTED.items()}
        message = report(WANTED, training_checkpoint(theirs))
        root = "efficientnet-lite0/head/predictions"
        assert message.splitlines()[-1] == (
            f"  unused, 2 in the checkpoint: {root}/bias, {root}/kernel"
        )

    def test_another_model_is_recognized_by_its_names(self):
        message = report(WANTED, training_checkpoint(lite0_shapes("efficientnet-lite1")))
        assert "another model (its names start with efficientnet-lite1/" in message
        assert "the network's with efficientnet-lite0/" in message

    def test_an_object_based_checkpoint_is_recognized(self):
        theirs = {"_CHECKPOINTABLE_OBJECT_GRAPH": (), "model/w/.ATTRIBUTES/VARIABLE_VALUE": (3,)}
        assert "written by tf.train.Checkpoint or Keras" in report({"w": (3,)}, theirs)

    def test_ignore_missing_leaves_them_out_with_a_warning(self, caplog):
        headless = {n: s for n, s in WANTED.items() if "head/dense" not in n}
        plan = restore_plan(WANTED, headless, ignore_missing=True)
        assert plan == {name: name for name in headless}
        assert "2 of 247 variables are not in the checkpoint" in caplog.text
        assert "efficientnet-lite0/head/dense/bias" in caplog.text

    def test_ignore_missing_does_not_accept_that_nothing_fits(self):
        message = report(WANTED, lite0_shapes("other"), ignore_missing=True)
        assert message.startswith("247 of 247 variables")


class TestShapes:
    def test_another_class_count(self):
        theirs = lite0_shapes(num_classes=10)
        message = report(WANTED, theirs)
        first, *lines = message.splitlines()
        assert first.startswith("the checkpoint has 10 classes, the network 1000:")
        assert "if the data have no more than these 10, --num_classes=10" in first
        root = "efficientnet-lite0/head/dense"
        assert f"  {root}/kernel: 1280x10 in the checkpoint, 1280x1000 in the network" in lines
        assert f"  {root}/bias: 10 in the checkpoint, 1000 in the network" in lines

    def test_another_class_count_on_resume_with_slots(self):
        wanted = training_checkpoint(WANTED)
        message = report(wanted, training_checkpoint(lite0_shapes(num_classes=10)))
        assert message.startswith("the checkpoint has 10 classes, the network 1000:")

    def test_a_background_class(self):
        message = report(WANTED, lite0_shapes(num_classes=1001))
        assert message.startswith("the checkpoint has 1001 classes, the network 1000:")
        assert "(if one of them counts a background class, give the --model of" in message

    def test_a_background_class_is_not_counted(self):
        """The --num_classes of the message is the one that the checkpoint fits."""
        theirs, ours = lite0_shapes(num_classes=1001), lite0_shapes(num_classes=11)
        message = report(ours, theirs, background_class=True)
        assert message.startswith("the checkpoint has 1000 classes, the network 10: give the data")
        assert "--num_classes=1000\n" in message

    @pytest.mark.parametrize(("theirs", "ours"), [(10, 11), (11, 10), (999, 1000)])
    def test_one_class_more_is_another_data_set(self, theirs, ours):
        message = report(lite0_shapes(num_classes=ours), lite0_shapes(num_classes=theirs))
        assert f"has {theirs} classes, the network {ours}: give the data set" in message
        assert f"--num_classes={theirs}" in message

    def test_another_width_is_another_model(self):
        message = report(WANTED, lite0_shapes(channels=40))
        # All but the four of head/tpu_batch_normalization and the two of head/dense.
        assert message.startswith("241 of 247 variables have another shape")
        assert "stem/conv2d/kernel: 3x3x3x40 in the checkpoint, 3x3x3x32 in the network" in message
        assert message.endswith("and 231 more")

    def test_a_scalar_against_a_vector(self):
        message = report({"a/scale": ()}, {"a/scale": (3,)})
        assert "a/scale: 3 in the checkpoint, scalar in the network" in message

    def test_ignore_missing_does_not_ignore_shapes(self):
        theirs = lite0_shapes(num_classes=10)
        del theirs["efficientnet-lite0/stem/conv2d/kernel"]
        assert "has 10 classes" in report(WANTED, theirs, ignore_missing=True)

    def test_lists_are_shapes_too(self):
        assert restore_plan({"w": [3, 4]}, {"w": (3, 4)}) == {"w": "w"}


def test_unused_weights_counts_what_a_slot_belongs_to():
    keys = ["a/kernel", "a/kernel/lars_slot", "b/kernel/Adam_1", "beta1_power", "c/bias"]
    assert unused_weights(keys, ["a/kernel"]) == ["c/bias"]


def test_only_a_head_of_another_class_count_is_initialized_again():
    trunk = {"stem/kernel": (3, 3, 3, 32), "stem/gamma": (32,)}
    thousand = {**trunk, "head/kernel": (1280, 1000), "head/bias": (1000,)}
    ten = {**trunk, "head/kernel": (1280, 10), "head/bias": (10,)}
    assert resized_head(ten, thousand) == ["head/kernel", "head/bias"]
    assert resized_head(ten, ten) == []
    one_more = {**trunk, "head/kernel": (1280, 1001), "head/bias": (1001,)}
    assert resized_head(thousand, one_more) == ["head/kernel", "head/bias"]
    assert resized_head(one_more, thousand) == ["head/kernel", "head/bias"]
    eleven = {**trunk, "head/kernel": (1280, 11), "head/bias": (11,)}
    assert resized_head(eleven, ten) == resized_head(ten, eleven) == ["head/kernel", "head/bias"]
    other_width = {**thousand, "stem/kernel": (3, 3, 3, 40), "stem/gamma": (40,)}
    assert resized_head(ten, other_width) == []
    other_features = {**ten, "head/kernel": (1792, 1000), "head/bias": (1000,)}
    assert resized_head(ten, other_features) == []


def test_a_run_cannot_continue_from_an_average_of_weights():
    counters = {"examples_seen": (), "skipped_steps": ()}
    slots = {f"{name}/Momentum": shape for name, shape in WANTED.items()}
    average = {**WANTED, "global_step": ()}
    first = report({**average, **slots, **counters}, average, hints=RESUMPTION).splitlines()[0]
    assert first.endswith("start another --train_dir from them with --init_checkpoint")


@pytest.mark.parametrize("hints", [INITIALIZATION, RESUMPTION])
@pytest.mark.parametrize(
    "available",
    [
        {name + TWIN: shape for name, shape in WANTED.items()},
        {f"v0/cg/{name}": shape for name, shape in WANTED.items()},
        {name: shape for name, shape in WANTED.items() if "blocks_3/" not in name},
    ],
    ids=["averages", "prefix", "missing"],
)
def test_hints_of_train_name_no_flag_of_eval(hints, available):
    first = report(WANTED, available, hints=hints).splitlines()[0]
    for flag in ("--ckpt_scope", "--ignore_missing_vars", "--moving_average_decay"):
        assert flag not in first
