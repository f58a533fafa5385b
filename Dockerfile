# The commands of docs/installation.md in an image, with the versions of the lock files.
#
#   docker build -t imagenet .                      for CPUs
#   docker build -t imagenet --build-arg GPU=1 .    for NVIDIA GPUs, with the CUDA libraries
#
# CUDA comes in Python packages, those of `make setup GPU=1`: the machine needs NVIDIA's driver and
# container toolkit, and the image needs no base of NVIDIA's.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
# The pins without their hashes, which pip would then ask of the new wheel, too.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels . \
    && sed -n '/^[a-z0-9][^ ]*==/s/ *\\$//p' requirements-gpu.lock > /wheels/constraints.txt

FROM python:${PYTHON}-slim
ARG GPU=0
ARG EXTRAS=demo,export,weights
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    wheel=$(echo /wheels/*.whl) \
    && if [ "$GPU" = 1 ]; then extras="$EXTRAS,gpu"; else extras="$EXTRAS"; fi \
    && pip install --no-cache-dir --constraint=/wheels/constraints.txt "${wheel}[$extras]" \
    && useradd --create-home --uid=1000 trainer \
    && install --directory --owner=trainer /work
USER 1000
WORKDIR /work
CMD ["imagenet-train", "--help"]
