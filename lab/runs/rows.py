"""The row of a run in the table: what is known before it starts, and that of one without a loss."""

from pathlib import Path

from lab.data import Dataset
from lab.model import accounting
from lab.runs import spent
from lab.runs.job import SCHEMA, Job


def before(job: Job, dataset: Dataset) -> dict:
    """What is known of a run before it starts, in the columns of the table."""
    config = job.config
    params = accounting.count_params(config.model, dataset.vocab_size)
    return {
        "run_id": job.run_id,
        "seed": config.seed,
        "trunk": job.trunk.path.name if job.trunk else None,
        "source": config.data.label,
        **{f"mix_{name}": share for name, share in config.data.shares.items()},
        "tokenizer": Path(config.data.tokenizer).name,
        "document_mask": config.model.document_mask,
        "width": config.model.width,
        "layers": config.model.layers,
        "heads": config.model.heads,
        "head_width": config.model.head_width,
        "mlp": config.model.mlp,
        "mlp_ratio": config.model.mlp_ratio,
        "tied": config.model.tied,
        "qk_norm": config.model.qk_norm,
        "context": config.data.context,
        "params_total": params.total,
        "params_embedding": params.embedding,
        "params_head": params.head,
        "params_matrices": params.matrices,
        "params_vectors": params.vectors,
        "tokens": config.steps * config.batch_tokens,
        "unique_tokens": dataset.unique_tokens,
        "entropy_rate_nats": dataset.entropy_rate,
        "batch_tokens": config.batch_tokens,
        "parametrization": config.model.parametrization,
        "algorithm": config.optimizer.algorithm,
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": config.weight_decay,
        **accounting.training_flops(config, dataset.vocab_size),
        "git_commit": (job.folder.spec() or {}).get("provenance", {}).get("git_commit"),
    }


def commit_diverged(job: Job, dataset: Dataset, step: int, reason: str, check=lambda: None) -> None:
    """Record a run that has no loss, so that it is shown and never fitted."""
    job.folder.write_spec(job.spec(dataset, {}))
    row = {
        **before(job, dataset),
        **spent.columns(job),
        "status": "diverged",
        "loss_nats": None,
        "diverged_step": step,
        "reason": reason,
    }
    job.folder.commit({"schema": SCHEMA, "row": row, "abilities": []}, check)
