"""Submit to Slurm: a training to convergence shared by several GPUs, and one comparison for each seed, as an array.

uv run examples/slurm.py [--cluster local] [--nodes 2] [--gpus 4] [--seeds 3] [overrides of evaluate_policy.yaml ...]

A job that Slurm interrupts and starts again goes on where it stopped; so does this script when it is run again.
"""

import argparse
import os

import submitit

TOGETHER = ["fit.supervised=true", "fit.options.train_batch_norm=false", "run=runs/supervised"]


class Comparison(submitit.helpers.Checkpointable):
    """Runs `evaluate_policy.py` in every task of a job; several tasks train together."""

    def __call__(self, overrides):
        """Run the command with some overrides."""
        job = submitit.JobEnvironment()
        if job.num_tasks > 1:
            # What torchrun would set. Each task sees all GPUs of its node and takes the one of its number.
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
            os.environ["TORCHELASTIC_RUN_ID"] = job.job_id
        from ralseg.evaluate_policy import main

        if status := main(["processes=1", *overrides]):
            raise RuntimeError(f"evaluate_policy ended with status {status}; the job's log says why")


def submit(cluster, nodes, gpus, seeds, overrides):
    """Submit all jobs; returns that of the shared training and those of the array."""
    on_gpus = "device=cuda" in overrides
    executor = submitit.AutoExecutor("runs/slurm", cluster)
    # Where one task fails, Slurm ends the others, as torchrun does.
    executor.update_parameters(timeout_min=24 * 60, slurm_srun_args=["--kill-on-bad-exit=1"], slurm_array_parallelism=8)
    executor.update_parameters(nodes=nodes, tasks_per_node=gpus, gpus_per_node=gpus * on_gpus, cpus_per_task=4)
    training = executor.submit(Comparison(), [*TOGETHER, *overrides])
    executor.update_parameters(nodes=1, tasks_per_node=1, gpus_per_node=int(on_gpus))
    each = [[f"seed={seed}", f"run=runs/seed-{seed}", *overrides] for seed in range(seeds)]
    return training, executor.map_array(Comparison(), each)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="slurm", help="slurm, or local for this machine")
    for name, default in (("nodes", 2), ("gpus", 4), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked, overrides = parser.parse_known_args()
    training, comparisons = submit(overrides=overrides, **vars(asked))
    for job in (training, *comparisons):
        print(f"submitted {job.job_id}; its logs are {job.paths.folder}/{job.job_id}_*", flush=True)
    if asked.cluster != "slurm":
        for job in (training, *comparisons):
            job.results()
