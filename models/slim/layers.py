"""The slim layers that the networks use: TF-Slim's own and some of ours.

Batch norm, dropout and max pooling are ours, the convolution that makes logits runs in float32,
and there is the depthwise convolution that TF-Slim lacks.

Importing this module puts it in the place of `layers` and `layers_lib` in the networks of
tf_slim.nets, once and for the whole process: to do so only during a call would not be safe, as the
towers of a MirroredStrategy are traced in threads. TF-Slim's other users keep its own layers. For
the same reason it gives every thread arg scopes of its own (models/slim/arg_stack.py).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from tf_slim.layers import layers as _slim_layers
from tf_slim.nets import (
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_utils,
    resnet_v1,
    resnet_v2,
    vgg,
)

from models.slim import arg_stack as _arg_stack
from models.slim import batch_norm as _batch_norm
from models.slim import convolution as _convolution
from models.slim import depthwise_convolution as _depthwise_convolution
from models.slim import dropout as _dropout
from models.slim import pooling as _pooling

# Any: arg scopes hide what a layer takes and returns.
_slim: Any = _slim_layers
avg_pool2d = _slim.avg_pool2d
fully_connected = _slim.fully_connected
repeat = _slim.repeat
separable_conv2d = _slim.separable_conv2d
softmax = _slim.softmax
batch_norm: Any = _batch_norm.batch_norm
conv2d: Any = _convolution.conv2d
depthwise_conv2d: Any = _depthwise_convolution.depthwise_conv2d
dropout: Any = _dropout.dropout
max_pool2d: Any = _pooling.max_pool2d

_arg_stack.give_every_thread_its_own()

for _network in (
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_utils,
    resnet_v1,
    resnet_v2,
    vgg,
):
    for _name in ("layers", "layers_lib"):
        if hasattr(_network, _name):
            setattr(_network, _name, sys.modules[__name__])

# TF-Slim calls its layers in a way that TensorFlow deprecates: nothing that a user could change.
for _message in ("`layer.apply` is deprecated", "`layer.updates` will be removed"):
    warnings.filterwarnings("ignore", message=_message, category=UserWarning)
