"""Tasks: which batches, which losses, which evaluators; each is `prepare(config) -> run(workdir) -> Outcome`."""

from partrep.tasks import classify_comparison, classify_run, fewshot_run, metric_run, openset_run, retrieval_run

TASKS = {
    "classify": classify_run.prepare,
    "fewshot": fewshot_run.prepare,
    "metric": metric_run.prepare,
    "openset": openset_run.prepare,
    "retrieval": retrieval_run.prepare,
}

SPLITS = {"classify": "test", "fewshot": "novel", "metric": "novel", "openset": "test", "retrieval": "novel"}
"""What a task scores its models on: the start of the names of those numbers."""

SECTIONS = {"classify": classify_comparison.sections}
"""Further tables of a comparison of runs, by task."""
