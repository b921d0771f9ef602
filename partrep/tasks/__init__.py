"""Tasks: which batches, which losses, which evaluators; each is `prepare(config) -> run(workdir) -> Outcome`."""

from partrep.tasks import fewshot_run

TASKS = {"fewshot": fewshot_run.prepare}
