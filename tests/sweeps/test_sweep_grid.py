"""A grid as data becomes cells: what each sets, what it starts from, what it is called."""

from typing import Any

import pytest

from jaxattn.errors import InputError
from jaxattn.runs.folder import NAME
from jaxattn.sweeps.grid import Best, cell_name, expand, label_of

TWO = {
    "pretrain": {"grid": {"attention.type": ["sdpa", "reformer_lsh"], "train.seed": [0, 1]}},
    "finetune": {"from": "pretrain", "grid": {"head.dropout": [0.1, 0.2]}},
    "baseline": {},
}


def test_a_grid_is_the_product_of_its_axes() -> None:
    cells = expand("x", TWO)
    assert [cell.id for cell in cells[:5]] == [
        "pretrain/x_sdpa_seed0",
        "pretrain/x_sdpa_seed1",
        "pretrain/x_reformer_lsh_seed0",
        "pretrain/x_reformer_lsh_seed1",
        "finetune/x_sdpa_seed0_dropout0.1",
    ]
    assert len(cells) == 4 + 8 + 1
    assert cells[-1].id == "baseline/x"
    assert cells[1].options == {"attention.type": "sdpa", "train.seed": 1}


def test_a_later_stage_keeps_seed_and_file_of_the_one_before() -> None:
    data = {
        "pretrain": {"grid": {"train.seed": [7], "train.learning_rate": [0.1]}},
        "tapt": {
            "from": "pretrain",
            "grid": {"task": {"imdb": {"config": "imdb.py", "data.path": "x"}}},
        },
        "finetune": {"from": "tapt", "options": {"train.epochs": 2}},
        "again": {"stage": "finetune", "from": "tapt", "grid": {"train.seed": [1, 2]}},
    }
    pretrain, tapt, finetune, first, second = expand("x", data)
    assert (pretrain.config, tapt.config, finetune.config) == ("", "imdb.py", "imdb.py")
    assert finetune.options == {"train.seed": 7, "train.epochs": 2, "data.path": "x"}
    assert [cell.kind for cell in finetune.chain()] == ["finetune", "tapt", "pretrain"]
    assert finetune.exp == "x_seed7_learning_rate0.1_imdb"
    assert [cell.options["train.seed"] for cell in (first, second)] == [1, 2]
    assert first.exp == "x_again_learning_rate0.1_imdb_seed1"
    assert first.configuration() == second.configuration()


def test_names_are_short_and_stay_apart() -> None:
    long = [cell_name(["x" * 50, "y" * 20, f"seed{n}"]) for n in range(3)]
    assert len(set(long)) == 3
    assert all(NAME.fullmatch(name) for name in [*long, cell_name(["a b/c", "ü"])])
    assert long == [cell_name(["x" * 50, "y" * 20, f"seed{n}"]) for n in range(3)]
    labels = [
        label_of(option, value)
        for option, value in (
            ("train.seed", 3), ("head.dropout", 0.1), ("data.packing", False),
            ("attention.performer_favor.nb_features", "0.5x"), ("head.pooling", "cls"),
            ("data.length_buckets", (16, 32)),
        )
    ]  # fmt: skip
    assert labels == [
        "seed3", "dropout0.1", "no_packing", "nb_features0.5x", "cls", "length_buckets16-32",
    ]  # fmt: skip


def test_the_best_is_chosen_on_validation() -> None:
    search = {"search": {"stage": "finetune", "grid": {"head.dropout": [0.1, 0.2]}}}
    final = {"stage": "finetune", "best": {"of": "search"}, "grid": {"train.seed": [0, 1]}}
    cells = expand("x", search | {"final": final})
    assert cells[2].best == Best("search", "validation.macro_f1", ())
    assert cells[2].best.higher_is_better
    assert not Best("search", "validation.loss", ()).higher_is_better
    with pytest.raises(InputError, match="validation split"):
        expand("x", search | {"final": final | {"best": {"of": "search", "by": "test.macro_f1"}}})


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([], ["expected groups"]),
        ({"pretrian": {}}, ["pretrian", "did you mean 'pretrain'"]),
        ({"pretrain": {"gird": {}}}, ["'gird'", "did you mean 'grid'"]),
        ({"pretrain": {"grid": {"train.sed": [1]}}}, ["train.sed", "did you mean 'train.seed'"]),
        ({"pretrain": {"grid": {"train.seed": 1}}}, ["train.seed", "expected a list"]),
        ({"pretrain": {"grid": {"train.seed": []}}}, ["train.seed", "no value"]),
        ({"pretrain": {"grid": {"train.seed": [1, 1]}}}, ["two cells", "x_seed1"]),
        ({"pretrain": {"options": {"train.epoch": 1}}}, ["train.epoch"]),
        ({"finetune": {"from": "pretrain"}}, ["'pretrain'", "an earlier group"]),
        ({"finetune": {}, "tapt": {"from": "finetune"}}, ["stage finetune", "from pretrain"]),
        ({"a b": {}}, ["'a b'"]),
        ({"finetune": {"best": {"of": "later"}}}, ["'later'"]),
        ({"pretrain": {}, "finetune": {"best": {"of": "pretrain"}}}, ["no finetune stage"]),
        ({"pretrain": {"grid": {"size": {"big": 3}}}}, ["big", "expected entries"]),
        ({"pretrain": {"config": 3}}, ["config", "3"]),
    ],
)
def test_mistakes_are_told_by_place(groups: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        expand("x", groups)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
