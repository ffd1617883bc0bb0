"""The loop with a step of three numbers: early stopping, skipped steps, parts of runs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import CheckpointConfig, LogConfig, TrainConfig
from jaxattn.ops.programs import Programs
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import Job, NonFiniteError, Tally
from jaxattn.train.log import RunLog
from jaxattn.train.loop import fit
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.precision import first_scale
from jaxattn.train.state import TrainState, create_state
from jaxattn.train.steps import Sums, make_train_step

EPOCH, EPOCHS = 4, 10


def weights_of(params: Any) -> Any:
    """The three numbers, named as a kernel that muon takes."""
    return params["encoder"]["blocks_0"]["kernel"]


def loss_fn(params: Any, batch: Any, rngs: Any, deterministic: bool) -> Sums:
    """A pull to the rows of the batch; its `bomb` overflows float16's scaled gradients."""
    wrong = ((weights_of(params) - batch["x"]) ** 2).sum(-1) * batch["weights"]
    count = batch["weights"].sum()
    return {"loss": (wrong * batch["bomb"]).sum(), "correct": count, "count": count}


class Setup:
    """A run in a folder; `scores` are macro-F1 after each epoch, `bombs` the steps to overflow."""

    def __init__(self, folder: Path, *, scores: list[float] | None = None, **settings: Any) -> None:
        self.folder, self.validated = folder, []
        self.scores = scores or [0.01 * epoch for epoch in range(EPOCHS)]
        self.patience = settings.pop("patience", 0)
        self.bombs = settings.pop("bombs", ())
        self.validate_every = settings.pop("validate_every", 0)
        self.config = TrainConfig(batch_size=4, learning_rate=0.05, **settings)
        self.optimizer = make_optimizer(self.config, EPOCH * EPOCHS)
        self.checkpoints = Checkpoints(folder / "checkpoints", keep=20)
        self.energy: Any = None
        self.draw: Any = None

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(step)
        return {
            "ids": np.zeros((4, 2), np.int32),
            "mask": np.ones((4, 2), bool),
            "x": rng.normal(size=(4, 3)).astype(np.float32),
            "weights": np.ones(4, np.float32),
            "bomb": np.full(4, 3e38 if step in self.bombs else 1.0, np.float32),
        }

    def first_state(self) -> TrainState:
        params = {"encoder": {"blocks_0": {"kernel": jnp.full((1, 3), 5.0)}}}
        return create_state(params, self.optimizer, 0, first_scale(self.config))

    def run(self, start_at: int | None = None, last_step: int = EPOCH * EPOCHS) -> tuple:
        state, tally = self.first_state(), Tally()
        if start_at is not None:
            state = self.checkpoints.load(start_at, state)
            tally = Tally(**self.checkpoints.document(start_at)["tally"])
        if self.draw is not None:
            state = dataclasses.replace(state, draws=jnp.zeros(()))
        step = make_train_step(
            loss_fn,
            self.optimizer,
            accumulation=self.config.accumulation,
            redraw_interval=1,
            loss_scale_steps=self.config.loss_scale_steps,
        )
        averages, eval_params = self.optimizer.averages, self.optimizer.eval_params

        def validate(params: Any, step: int) -> dict[str, float | None]:
            self.validated.append(np.asarray(weights_of(params)))
            return {"macro_f1": self.scores[(len(self.validated) - 1) % EPOCHS]}

        job = Job(
            complete=None,
            stage="test",
            step=Programs(step, donate=True),
            batch=self.batch,
            learning_rate=lambda step: 0.0,
            total_steps=EPOCH * EPOCHS,
            steps_per_epoch=EPOCH,
            validate_every=self.validate_every,
            last_step=last_step,
            program_steps=[0],
            prepare=lambda params: None,
            validate=validate,
            select="macro_f1",
            higher_is_better=True,
            patience=self.patience,
            eval_params=(lambda s: eval_params(s.opt_state, s.params)) if averages else None,
            document={},
            peak_memory=lambda: 0.0,
            energy=self.energy,
            draw=self.draw,
            redraw_interval=4,
        )
        self.folder.mkdir(exist_ok=True)
        log = RunLog(self.folder, LogConfig(every_steps=3), "test", {})
        log.rewind(int(state.step))
        saving = CheckpointConfig(every_steps=3, every_epochs=0)
        return fit(job, state, tally, log, LogConfig(every_steps=3), self.checkpoints, saving)

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_stops_after_epochs_without_a_better_score(tmp_path: Path) -> None:
    scores = [0.2, 0.5, 0.4, 0.5, 0.6, 0.6, 0.1, 0.3, 0.9, 0.9]
    setup = Setup(tmp_path / "a", scores=scores, patience=3)
    state, tally = setup.run()
    assert (tally.best_step, tally.stopped_step) == (5 * EPOCH, 8 * EPOCH)
    assert int(state.step) == 8 * EPOCH
    assert setup.checkpoints.latest() == 8 * EPOCH
    # Started again it stays where it is; from an earlier checkpoint it stops at the same place.
    again, _ = setup.run(start_at=8 * EPOCH)
    assert_same(again, state)
    resumed = Setup(tmp_path / "a", scores=scores, patience=3)
    resumed.validated = setup.validated[: 24 // EPOCH]
    found, tally = resumed.run(start_at=24)
    assert (tally.best_step, tally.stopped_step) == (5 * EPOCH, 8 * EPOCH)
    assert_same(found, state)


def test_patience_zero_never_stops(tmp_path: Path) -> None:
    _, tally = Setup(tmp_path / "a", scores=[0.9, *[0.1] * 9]).run()
    assert (tally.best_step, tally.stopped_step) == (EPOCH, None)


def test_skipped_steps_are_counted_and_no_failure(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "a", precision="float16", bombs=(4, 5, 17))
    state, tally = setup.run()
    assert tally.skipped == 3
    assert [event["step"] for event in setup.events("skipped")] == [5, 6, 18]
    assert float(state.loss_scale.scale) == 2.0**12
    assert int(state.step) == EPOCH * EPOCHS
    rows = (tmp_path / "a/metrics.csv").read_text()
    assert "nan" not in rows and "inf" not in rows
    # A step that is skipped, and the scale, are part of what resuming repeats.
    resumed, tally = setup.run(start_at=3)
    assert tally.skipped == 3
    assert_same(resumed, state)


def test_overflow_at_every_scale_is_a_failure(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "a", precision="float16", bombs=range(2, 99))
    with pytest.raises(NonFiniteError, match="overflow float16 in step 18"):
        setup.run()
    assert setup.checkpoints.latest() == 16  # the step that fails is never saved


def test_without_a_scale_the_same_bomb_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="in step 3"):
        Setup(tmp_path / "a", bombs=(2,)).run()


@pytest.mark.parametrize("optimizer", ["adamw", "schedule_free_adamw", "muon", "lamb"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_resumes_bitwise_in_the_middle(tmp_path: Path, optimizer: str, precision: str) -> None:
    parts = {"optimizer": optimizer, "precision": precision, "accumulation": 2}
    whole = Setup(tmp_path / "a", **parts)
    state, _ = whole.run()
    Setup(tmp_path / "b", **parts).run(last_step=10)
    other = Setup(tmp_path / "b", **parts)
    other.validated = whole.validated[: 10 // EPOCH]
    assert other.checkpoints.latest() == 10
    resumed, _ = other.run(start_at=10)
    assert_same(resumed, state)
    logs = [(tmp_path / name / "metrics.csv").read_bytes() for name in "ab"]
    assert logs[0] == logs[1]


def test_schedule_free_validates_and_exports_the_average(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "a", optimizer="schedule_free_adamw", schedule="constant")
    state, tally = setup.run()
    exported = weights_of(setup.checkpoints.load_params(tally.best_step))
    epoch = tally.best_step // EPOCH - 1
    assert exported.tobytes() == setup.validated[epoch].tobytes()
    last = weights_of(setup.checkpoints.load_params(EPOCH * EPOCHS))
    assert np.abs(last - np.asarray(weights_of(state.params))).max() > 1e-4
    # The trained point is what training goes on from.
    loaded = setup.checkpoints.load(EPOCH * EPOCHS, setup.first_state())
    assert_same(loaded, state)


def test_validation_is_due_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    setup = Setup(tmp_path, validate_every=15)
    setup.run()
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    validated = [int(row.split(",")[0]) for row in rows if ",validation," in row]
    assert validated == [15, 30, 40]


def test_energy_is_that_of_the_steps(tmp_path: Path) -> None:
    """A meter that advances by 1 when it is read, and by 1000 at each validation."""
    setup, joules = Setup(tmp_path / "a"), [100.0]

    def read() -> float:
        joules[0] += 1.0
        return joules[0]

    class Costly(list):
        def __getitem__(self, place: Any) -> Any:
            joules[0] += 1000.0
            return super().__getitem__(place)

    setup.energy, setup.scores = read, Costly(setup.scores)
    _, tally = setup.run(last_step=2 * EPOCH)
    # Steps 1 to 8 in four parts: saved after 3 and 6, validated after 4 and 8.
    assert tally.energy == 4.0 and joules[0] > 2000
    assert setup.run(start_at=2 * EPOCH, last_step=2 * EPOCH)[1].energy == 4.0


def test_draws_are_made_anew_at_multiples_of_the_interval(tmp_path: Path) -> None:
    """The first are those that the state comes with."""
    setup, drawn = Setup(tmp_path), []

    def draw(state: TrainState) -> jax.Array:
        drawn.append(int(state.step))
        return jnp.zeros(())

    setup.draw = draw
    state, _ = setup.run(last_step=9)
    assert drawn == [4, 8] and state.draws is not None
    setup.run(start_at=9)
    assert drawn == [4, 8, *range(12, EPOCH * EPOCHS, 4)]
