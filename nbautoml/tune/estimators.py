"""What a worker does with a task of a scikit-learn class, or a function that makes one of its estimators: cross-validation, fold by fold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nbautoml.errors import NbAutomlError
from nbautoml.events import EpochEnded, RunControl, Task, TaskContext, TrialEnded, TrialSpec
from nbautoml.train.failures import cancelled, failed
from nbautoml.tune.session import Session, session_for

__all__ = ["SCORERS", "cross_validate"]

N_FOLDS = 5
# Our metric -> scikit-learn's scorer and the sign that turns it into our value.
SCORERS: dict[str, tuple[str, float]] = {
    "accuracy": ("accuracy", 1.0),
    "precision": ("precision_macro", 1.0),
    "recall": ("recall_macro", 1.0),
    "f1": ("f1_macro", 1.0),
    "auroc": ("roc_auc_ovr", 1.0),
    "mae": ("neg_mean_absolute_error", -1.0),
    "rmse": ("neg_root_mean_squared_error", -1.0),
    "r2": ("r2", 1.0),
}


def cross_validate(task: Task, context: TaskContext) -> None:
    """Handler: each trial is scored by cross-validation over all rows (5 folds, seeded)."""
    session = session_for(context)
    rows, target = _rows(session)
    for trial in task.trials:
        context.emit(_score_one(trial, rows, target, session, context))


def _rows(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """All rows, training and validation together: the folds do the validating."""
    data = session.opened_data
    parts = [data.train.all(), data.valid.all()]
    tables = [inputs.cpu().numpy() for inputs, _ in parts if not isinstance(inputs, (tuple, dict))]
    if not tables:
        raise NbAutomlError(
            "an estimator takes one table, the data has several inputs", hint="join them into one"
        )
    rows = np.concatenate(tables)
    target = np.concatenate([part[1].cpu().numpy() for part in parts])
    return rows.reshape(len(rows), -1), target


def _score_one(
    trial: TrialSpec, rows: np.ndarray, target: np.ndarray, session: Session, context: TaskContext
) -> TrialEnded:
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import KFold, StratifiedKFold

    metric = session.recipe.objectives[0].metric
    name, sign = SCORERS[metric]
    is_classes = session.recipe.data is not None and session.recipe.data.task != "regression"
    folds = (StratifiedKFold if is_classes else KFold)(
        N_FOLDS, shuffle=True, random_state=trial.seed
    )
    scores: list[float] = []
    number = trial.number
    try:
        scorer = get_scorer(name)
        for fold, (train, valid) in enumerate(folds.split(rows, target), start=1):
            estimator = _make(session, trial)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # convergence notes, once a fold and trial
                estimator.fit(rows[train], target[train])
            scores.append(sign * float(scorer(estimator, rows[valid], target[valid])))
            mean = float(np.mean(scores))
            context.emit(EpochEnded(trial=number, epoch=fold, step=fold, metrics={metric: mean}))
            answer = context.report(number, fold, mean)
            if answer is RunControl.CANCEL:
                return cancelled(number)
            if answer is RunControl.STOP_EARLY and fold < N_FOLDS:
                return TrialEnded(trial=number, state="stopped_early", values=[mean])
    except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code may raise anything
        return failed(number, error, session.capsule_dir)
    metrics = {metric: float(np.mean(scores)), f"{metric}_std": float(np.std(scores))}
    return TrialEnded(trial=number, state="complete", values=[metrics[metric]], metrics=metrics)


def _make(session: Session, trial: TrialSpec) -> Any:
    """A fresh estimator; it, and each step of a pipeline, gets the trial's seed where it has none."""
    _, arguments = session.split(trial.params)
    estimator = session.target(**arguments)
    open_seeds = [
        name
        for name, value in estimator.get_params().items()
        if value is None and name.rpartition("__")[2] == "random_state" and name not in arguments
    ]
    return estimator.set_params(**dict.fromkeys(open_seeds, trial.seed % 2**31))
