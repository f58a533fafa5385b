"""timm on the same machine: one batch of random images, AMP, channels_last, torch.compile."""

from __future__ import annotations

import argparse
import subprocess

from benchmarks.gpu.settings import Result, Setting

# Our network -> timm's of the same architecture, with the same number of parameters. Of the two
# EfficientNet-Lite0s it is the one without TensorFlow's asymmetric pads, which cost it time.
TIMM_NAMES = {
    "efficientnet_lite0": "efficientnet_lite0",
    "resnet50": "resnet50",
    "keras_mobilenetv2": "mobilenetv2_100",
    "keras_efficientnetb0": "efficientnet_b0",
}
_PROGRAM = """
import sys, time, timm, torch
name, dtype, batch, steps, device, size = sys.argv[1:]
batch, steps, size = int(batch), int(steps), int(size)
network = timm.create_model(name).to(device, memory_format=torch.channels_last).train()
optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
scaler = torch.amp.GradScaler(device, enabled=dtype == "float16")
images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
labels = torch.randint(0, 1000, (batch,), device=device)
forward = torch.compile(network)
def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
        loss = torch.nn.functional.cross_entropy(forward(images), labels)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss
for _ in range(5):
    step().item()
start = time.perf_counter()
for _ in range(steps):
    loss = step()
loss.item()
print(batch * steps / (time.perf_counter() - start))
"""


def measure(model: str, dtype: str, batch_size: int, options: argparse.Namespace) -> Result:
    """Runs timm's network of the same architecture in `--peer_python`."""
    setting = Setting(model, dtype, batch_size, "timm")
    if model not in TIMM_NAMES:
        return Result(setting, 0.0, failure="timm's name of it is not known here")
    device = "cuda" if options.device == "gpu" else "cpu"
    numbers = [str(batch_size), str(options.num_batches)]
    arguments = [TIMM_NAMES[model], dtype, *numbers, device, str(options.image_size or 224)]
    done = subprocess.run(
        [str(options.peer_python), "-c", _PROGRAM, *arguments],
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return Result(setting, 0.0, failure=lines[-1])
    return Result(setting, float(done.stdout.split()[-1]))
