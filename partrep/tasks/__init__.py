"""Tasks: which batches, which losses, which evaluators."""

from partrep.tasks.fewshot_run import run as fewshot

TASKS = {"fewshot": fewshot}
