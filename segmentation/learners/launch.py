"""Connects the processes that torchrun started, through Lightning Fabric."""

import logging
import os
from datetime import timedelta

from ralseg.foundation import RalsegError
from ralseg.foundation.torchrun import started

PATIENCE = timedelta(days=30)
"""How long processes wait for each other: between two trainings the first one may play for hours. Where one of them
fails, torchrun ends them all."""


def connect(device: str) -> None:
    """Make a process group of gloo on CPUs, or of NCCL on GPUs of which each process takes its own.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        RalsegError: if Lightning Fabric is not installed, or the device is another one, or not there for each process.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise RalsegError(
            "torchrun starts several processes, which needs Lightning Fabric; pip install ralseg[scale], or start the "
            "command without torchrun"
        ) from error
    if device not in ("cpu", "cuda"):
        raise RalsegError(f"device={device!r} cannot be shared by several processes; set device=cpu or device=cuda")
    # What is not trained with is sent between CPUs in any case.
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        Fabric(
            accelerator=device,
            devices=here,
            num_nodes=started() // here,
            strategy=DDPStrategy(process_group_backend=backend, timeout=PATIENCE),
            plugins=[TorchElasticEnvironment()],
        ).launch()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RalsegError(f"device={device}: {started()} processes cannot be connected ({reason})") from error
