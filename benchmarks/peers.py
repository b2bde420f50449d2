"""Who is compared with: the loop that Optuna's documentation shows, Ray Tune, Keras Tuner, Lightning, skorch.

Each trains the same model on the same split, batch size and epochs, with Adam, and validates after
each epoch. A peer that is not installed is told in the table (`missing`): the extra ``bench``
brings them all.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "SEED",
    "Job",
    "by_keras_tuner",
    "by_optuna",
    "by_ray",
    "fit_by_lightning",
    "fit_by_skorch",
    "missing",
    "plain_fit",
    "rates",
    "start_ray",
    "stop_ray",
]


SEED = 0


def rates(n: int) -> list[float]:
    """The learning rates that everybody trains with, one a trial, as random search would draw them.

    >>> [f"{rate:.2g}" for rate in rates(3)]
    ['0.034', '0.019', '0.0018']
    """
    drawn = random.Random(SEED)
    return [10 ** drawn.uniform(-4, -1) for _ in range(n)]


@dataclass(frozen=True)
class Job:
    """What everybody trains.

    Attributes:
        net: makes the module.
        data: inputs and classes; the last fifth is for validation.
        epochs: of each trial.
        batch: rows a step.
        device: where it is trained, as torch names it.
    """

    net: Callable[[], nn.Module]
    data: tuple[Tensor, Tensor]
    epochs: int
    batch: int = 64
    device: str = "cpu"

    def split(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training inputs and classes, validation inputs and classes; the split of seed 0."""
        x, y = self.data
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        x, y, n_valid = x[order], y[order], len(x) // 5
        return x[n_valid:], y[n_valid:], x[:n_valid], y[:n_valid]


def missing(**modules: str) -> list[str]:
    """A note for each module that is not installed; by the name that people know it by."""
    return [
        f"{name.replace('_', ' ')} is missing here: pip install 'nbautoml[bench]'."
        for name, module in modules.items()
        if importlib.util.find_spec(module) is None
    ]


def plain_fit(
    job: Job,
    lr: float,
    report: Callable[[int, float], None] = lambda _epoch, _accuracy: None,
    *,
    batch: int | None = None,
    make_optimizer: Callable[..., Any] = torch.optim.Adam,
    net: Callable[[], nn.Module] | None = None,
) -> float:
    """As in Optuna's own example for PyTorch: DataLoaders, a loop, a report an epoch."""
    from torch.utils.data import DataLoader, TensorDataset

    x_train, y_train, x_valid, y_valid = job.split()
    size = batch or job.batch
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=size, shuffle=True)
    check = DataLoader(TensorDataset(x_valid, y_valid), batch_size=size)
    model = (net or job.net)().to(job.device)
    optimizer = make_optimizer(model.parameters(), lr=lr)
    accuracy = 0.0
    for epoch in range(job.epochs):
        model.train()
        for inputs, classes in loader:
            x, y = inputs.to(job.device), classes.to(job.device)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for inputs, classes in check:
                x, y = inputs.to(job.device), classes.to(job.device)
                correct += int((model(x).argmax(dim=1) == y).sum())
        accuracy = correct / len(y_valid)
        report(epoch, accuracy)
    return accuracy


def by_optuna(job: Job, n_trials: int, n_jobs: int) -> float:
    """Milliseconds a trial in this process."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        return plain_fit(job, lr, lambda epoch, accuracy: trial.report(accuracy, epoch))

    torch.manual_seed(SEED)
    sampler = optuna.samplers.RandomSampler(seed=SEED)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for rate in rates(n_trials):
        study.enqueue_trial({"lr": rate})
    begin = time.perf_counter()
    study.optimize(objective, n_trials=n_trials, n_jobs=n_jobs)
    return (time.perf_counter() - begin) / n_trials * 1000


def start_ray() -> float:
    """Start Ray on this machine only; seconds that it took. Nothing is sent to anybody."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    begin = time.perf_counter()
    if not ray.is_initialized():
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(_import_paths())}},
        )
    return time.perf_counter() - begin


def by_ray(job: Job, n_trials: int) -> float:
    """Milliseconds a trial of Ray Tune, two at once in processes that it keeps from trial to trial.

    Ray itself was started before (`start_ray`), its processes for trials are started here.
    """
    from ray import tune

    start_ray()

    def trainable(config: dict[str, float], job: Job) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        plain_fit(job, config["lr"], lambda _, accuracy: tune.report({"accuracy": accuracy}))

    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, job=job), {"cpu": 1}),
            param_space={"lr": tune.grid_search(rates(n_trials))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=2,
                metric="accuracy",
                mode="max",
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=place, verbose=0),
        )
        begin = time.perf_counter()
        found = tuner.fit()
        spent = time.perf_counter() - begin
    if found.num_errors:
        raise RuntimeError(f"{found.num_errors} trials of Ray Tune failed: {found.errors[0]}")
    if len(found) != n_trials:
        raise RuntimeError(f"Ray Tune ran {len(found)} of {n_trials} trials")
    return spent / n_trials * 1000


def stop_ray() -> None:
    """End Ray's processes, if there are any: what is measured next has the cores for itself."""
    if importlib.util.find_spec("ray") is not None:
        import ray

        if ray.is_initialized():
            ray.shutdown()


def by_keras_tuner(job: Job, n_trials: int) -> float:
    """Milliseconds a trial of Keras Tuner, Keras on torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import keras
    import keras_tuner

    torch.set_num_threads(1)
    x_train, y_train, x_valid, y_valid = (part.numpy() for part in job.split())

    def build(values: Any) -> Any:
        model = _keras_twin(job.net(), x_train.shape[1:])
        model.compile(
            optimizer=keras.optimizers.Adam(values.Choice("lr", rates(n_trials))),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        return model

    with tempfile.TemporaryDirectory() as place:
        tuner = keras_tuner.GridSearch(
            build, objective="val_accuracy", max_trials=n_trials, directory=place, seed=SEED
        )
        begin = time.perf_counter()
        tuner.search(
            x_train,
            y_train,
            validation_data=(x_valid, y_valid),
            epochs=job.epochs,
            batch_size=job.batch,
            verbose=0,
        )
        return (time.perf_counter() - begin) / n_trials * 1000


def _keras_twin(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """The same layers in Keras's words."""
    from keras import Sequential, layers

    made: list[Any] = [layers.Input(shape)]
    if len(shape) == 3:
        made.append(layers.Permute((2, 3, 1)))  # Keras puts the channels last
    for layer in module.layers:  # type: ignore[union-attr]
        match layer:
            case nn.Linear():
                made.append(layers.Dense(layer.out_features))
            case nn.Conv2d():
                made.append(layers.Conv2D(layer.out_channels, layer.kernel_size, padding="same"))
            case nn.ReLU():
                made.append(layers.ReLU())
            case nn.MaxPool2d():
                made.append(layers.MaxPool2D(2))
            case nn.Flatten():
                made.append(layers.Flatten())
            case _:
                raise TypeError(f"no layer of Keras for {layer!r}")
    return Sequential(made)


def fit_by_lightning(job: Job, lr: float) -> float:
    """Validation accuracy after one fit by Lightning's Trainer, with all that can be off switched off."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = job.net()
            self.accuracy = 0.0
            self._n_right = 0

        def training_step(self, batch: Any, _index: int) -> Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.net(x), y)

        def on_validation_epoch_start(self) -> None:
            self._n_right = 0

        def validation_step(self, batch: Any, _index: int) -> None:
            x, y = batch
            self._n_right += int((self.net(x).argmax(dim=1) == y).sum())

        def on_validation_epoch_end(self) -> None:
            self.accuracy = self._n_right / len(y_valid)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=lr)

    x_train, y_train, x_valid, y_valid = job.split()
    module = Module()
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=job.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=place,
        )
        trainer.fit(
            module,
            DataLoader(TensorDataset(x_train, y_train), batch_size=job.batch, shuffle=True),
            DataLoader(TensorDataset(x_valid, y_valid), batch_size=job.batch),
        )
    return module.accuracy


def fit_by_skorch(job: Job, lr: float) -> float:
    """Validation accuracy after one fit by skorch's classifier."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    x_train, y_train, x_valid, y_valid = (part.numpy() for part in job.split())
    classifier = NeuralNetClassifier(
        job.net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=lr,
        max_epochs=job.epochs,
        batch_size=job.batch,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(x_valid, y_valid)),
        verbose=0,
    )
    classifier.fit(x_train, y_train)
    return float(classifier.history[-1, "valid_acc"])


def _import_paths() -> list[str]:
    import sys

    return [path for path in sys.path if path]
