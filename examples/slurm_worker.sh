#!/bin/sh
#SBATCH --job-name=oreflow-worker
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
# One job answers one request of the folder that is its first argument; `run.executor.submit` starts as many as there
# are new requests:
#
#     sbatch --array=0-{last} examples/slurm_worker.sh {folder}
#
# Jobs begin in the folder where the run was started, so the plug-in is found there. Nothing here is of SLURM but the
# lines above: for another batch system replace those.
exec oreflow worker "$1" -n 1 --plugin examples/slow_reward.py
