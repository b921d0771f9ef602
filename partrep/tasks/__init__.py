"""Tasks: which batches, which losses, which evaluators; each is `prepare(config) -> run(workdir) -> Outcome`."""

from partrep.tasks import classify_run, fewshot_run

TASKS = {"classify": classify_run.prepare, "fewshot": fewshot_run.prepare}
