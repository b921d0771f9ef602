"""Tasks: which batches, which losses, which evaluators; each is `prepare(config) -> run(workdir) -> Outcome`."""

from partrep.tasks.fewshot_run import prepare as fewshot

TASKS = {"fewshot": fewshot}
