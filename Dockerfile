# An image of oreflow for the CPU.
#   docker build -t oreflow .
#   docker run --rm -v "$PWD:/work" oreflow design
# The default index brings torch with CUDA libraries; for the small CPU build:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t oreflow .
FROM python:3.12-slim

ARG TORCH_INDEX=""
WORKDIR /opt/oreflow
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir --constraint requirements.lock ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY agent agent
COPY envs envs
COPY rewards rewards
COPY runs/configs runs/configs
COPY src src
RUN pip install --no-cache-dir --constraint requirements.lock ".[chgnet]"

# What numba compiles is kept here, so that a container that mounts it compiles once.
ENV NUMBA_CACHE_DIR=/var/cache/oreflow
RUN mkdir -p /var/cache/oreflow && chmod 1777 /var/cache/oreflow
WORKDIR /work
ENTRYPOINT ["oreflow"]
CMD ["--help"]
