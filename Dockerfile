# The machine that the quickstart runs on; docs/install.md says more.
#   docker build --tag scalewise .                                CPUs
#   docker build --tag scalewise --build-arg DEVICE=cuda .        NVIDIA GPUs
#   docker run --name quickstart --shm-size 2g scalewise          loading processes hand images over in /dev/shm
ARG DEVICE=cpu

FROM python:3.11-slim AS cpu
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*

# The lock brings CUDA's libraries and the host its driver; Triton compiles PSConv's kernel with a C compiler.
FROM cpu AS cuda
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${DEVICE}
WORKDIR /scalewise
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY . .
ENV PYTHONPATH=/scalewise
CMD ["python", "-m", "pipeline.graph", "build", "quickstart", "--preset", "tour"]
