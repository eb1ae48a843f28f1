#!/usr/bin/env bash
# Slurm: a folder of submissions as an array of jobs.
#
#   SUBMISSIONS=handed-in REPORTS=reports CHECKER=my-rng-server sbatch slurm.sh
#   my-rng-server/scripts/check.sh --merge reports/* --reports merged
#
# All nodes see these folders. Run `scripts/check.sh --prepare` once before.
#SBATCH --array=1-8
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
set -euo pipefail

# 1 is a submission that failed a check, and not a shard that failed.
"$CHECKER/scripts/check.sh" --submissions "$SUBMISSIONS" \
	--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
	--reports "$REPORTS/$SLURM_ARRAY_TASK_ID" || [[ $? == 1 ]]
