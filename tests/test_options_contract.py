"""Every option at every door: Python's function, the dataclass, flag, recipe key and estimator.

An option that one door lacks is in `MISSING` with its reason; one that is in neither fails here.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import typing
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import contrasift as cs
from checked import typechecked
from contrasift.catalogue import OBJECTIVES
from contrasift.classes.find import METHODS as CLASS_METHODS
from contrasift.cli import app, load_command
from contrasift.cli.flags import RUNNING, as_flags
from contrasift.errors import UsageError
from contrasift.options import (
    GROUPS,
    METHODS,
    ClassesOptions,
    CompareOptions,
    EmbedOptions,
    MatrixOptions,
    PoolOptions,
    RunOptions,
    SelectOptions,
    TrainOptions,
    words,
)
from contrasift.options.declaring import words_of
from contrasift.options.mining import MiningFiles, MiningOptions
from contrasift.options.training import LEARNING_RATES

SOURCE = Path(cs.__file__).parent

# Names that doors have for the same option.
ALIASES = {
    ("classes", "method"): "classes",
    ("classes", "known"): "few_labels",
    ("classes", "labels"): "classes_file",
    ("embed", "batch_size"): "embed_batch_size",
    ("mine", "latent_classes"): "classes",
    ("estimator", "random_state"): "seed",
}
_LIVE = "a live object: what a command line cannot name"
_OF_A_MATRIX = "of a selection from a matrix: a run has its own"
_OF_OPENING = "`open_embeddings` takes it, or `contrasift.matrices`"
_OF_A_POOL = "a list for one pool: data for `fit`, no parameter of a search"
MISSING = {
    # select
    ("select", "python"): {
        "scores_column": "Python takes the scores themselves",
        "column": _OF_OPENING,
        "id": _OF_OPENING,
        "scale": _OF_OPENING,
        "skip_bad": _OF_OPENING,
        "drop_duplicates": "the objective `semantic-dedup` and `must_drop`",
    },
    ("select", "flag"): {
        "progress": _LIVE,
        "announce": _LIVE,
    },
    ("select", "recipe"): {
        "embeddings": _OF_A_MATRIX,
        "classes": "has a stage and a section of its own",
        "fractions": _OF_A_MATRIX,
        "must_keep": _OF_A_MATRIX,
        "must_drop": _OF_A_MATRIX,
        "class_weights": _OF_A_MATRIX,
        "normalize": "a run's embeddings are means of unit views, taken as they are",
        "threads": "of the machine, not of the result",
        "memory_limit": "of the machine, not of the result",
        "engine": "of the machine, not of the result",
        "progress": _LIVE,
        "announce": _LIVE,
    },
    ("select", "estimator"): {
        "embeddings": "X of `fit`",
        "classes": "y of `fit`",
        "scores": _OF_A_POOL,
        "scores_column": _OF_A_POOL,
        "scores_keep": "of `scores`",
        "target": _OF_A_POOL,
        "target_weight": "of `target`",
        "must_keep": _OF_A_POOL,
        "must_drop": _OF_A_POOL,
        "class_weights": _OF_A_POOL,
        "fractions": "a grid of parameters says the same",
        "memory_limit": "scikit-learn's matrices are in memory already",
        "engine": _LIVE,
        "progress": _LIVE,
        "announce": _LIVE,
    },
    # latent_classes
    ("classes", "python"): {
        "class_names": "`contrasift.classes.zero_shot` is the function for names",
        "templates": "`contrasift.classes.zero_shot` is the function for names",
        "clip": "`contrasift.classes.zero_shot` is the function for names",
        "stability": "`contrasift.classes.class_stability` is the function for several seeds",
        "rounds": "a loop over `pretrain`, `embed`, `select`: the pipeline's",
        "memory_limit": "of `Searching`, the argument `searching`",
    },
    ("classes", "flag"): {
        "embeddings": "of the run",
        "label_names": "of the pool",
        "assigning": "--engine",
        "searching": "--memory-limit, and what a run keeps of unfinished work",
    },
    # embed
    ("embed", "python"): {
        "classes_encoder": "a second call of `embed`",
        "classes_layer": "a second call of `embed`",
        "classes_views": "a second call of `embed`",
        "proxy_epochs": "of `pretrain`",
        "proxy_method": "of `pretrain`",
        "proxy_architecture": "of `pretrain`",
    },
    ("embed", "flag"): {
        "positions": "what of the pool can be read",
        "path": "in the run folder",
        "progress": _LIVE,
        "workers": "pools on disk decode in threads of their own",
    },
    # mine
    ("mine", "python"): {
        "other_classes": "`contrasift.mining.judging` judges by several",
        "query_texts": "of the page",
        "corpus_texts": "of the page",
        "images": "of the page",
        "column": _OF_OPENING,
        "id": _OF_OPENING,
        "skip_bad": _OF_OPENING,
    },
    ("mine", "flag"): {
        "progress": _LIVE,
        "pieces": "what a folder keeps of unfinished work",
    },
    # pretrain
    ("train", "flag"): {
        "pool": "of the run",
        "positions": "--subset",
        "progress": "--quiet",
        "max_steps": "--match steps",
        "workers": "pools on disk decode in threads of their own",
        "latent_classes": "of the run",
        "switch": "--select-after, and the options beside it",
        "options": "its fields are the flags",
    },
}
FUNCTIONS = {"select": cs.select, "classes": cs.latent_classes, "embed": cs.embed, "mine": cs.mine}
STAGES = {
    "select": (SelectOptions, MatrixOptions),
    "classes": (ClassesOptions,),
    "embed": (EmbedOptions,),
    "mine": (MiningOptions, MiningFiles),
    "train": (TrainOptions,),
}


def program():
    return get_command(app)


def flags(command):
    return {it.name for it in load_command(command).params}


def missing(stage, door):
    return MISSING.get((stage, door), {})


def arguments(stage):
    """The parameters of the stage's function by the names of the options."""
    found = inspect.signature(FUNCTIONS[stage]).parameters
    return {ALIASES.get((stage, name), name): it for name, it in found.items()}


def names(stage):
    return {item.name for group in STAGES[stage] for item in dataclasses.fields(group)}


@pytest.mark.parametrize("stage", FUNCTIONS)
def test_every_option_is_an_argument_and_every_argument_an_option(stage):
    there = set(arguments(stage))
    assert names(stage) - there == set(missing(stage, "python"))
    assert there - names(stage) - flags(stage) == set(missing(stage, "flag"))


@pytest.mark.parametrize("stage", [*FUNCTIONS, "train"])
def test_every_option_is_a_flag(stage):
    absent = names(stage) - flags(stage)
    assert absent == set()
    if stage == "train":
        there = set(inspect.signature(cs.pretrain).parameters)
        assert there - flags(stage) == set(missing(stage, "flag"))


@pytest.mark.parametrize("group", [ClassesOptions, EmbedOptions, TrainOptions, SelectOptions])
def test_every_option_of_a_stage_is_a_flag_of_run_and_a_key_of_recipes(group):
    fields = {item.name for item in dataclasses.fields(group)}
    assert fields <= flags("run")
    section = next(name for name, kind in GROUPS.items() if kind is group)
    base = RunOptions(PoolOptions(pool="digits")).as_dict()
    assert set(base[section]) == fields
    if group is SelectOptions:
        assert set(arguments("select")) - fields == set(missing("select", "recipe"))


def test_the_estimator_has_every_option_of_select():
    own = inspect.signature(cs.AugmentationSimilaritySelector.__init__).parameters
    there = {ALIASES.get(("estimator", name), name) for name in own} - {"self"}
    wanted = set(arguments("select")) | {"scores_column"}
    assert there <= wanted
    assert wanted - there == set(missing("select", "estimator"))
    for name, parameter in own.items():
        if name in arguments("select") and name not in ("fraction", "normalize"):
            assert parameter.default == arguments("select")[name].default, name


@pytest.mark.parametrize("stage", FUNCTIONS)
def test_defaults_are_the_same(stage):
    for group in STAGES[stage]:
        for item in dataclasses.fields(group):
            parameter = arguments(stage).get(item.name)
            if parameter is None or parameter.default is inspect.Parameter.empty:
                continue
            # Nothing is None in Python and an empty text on the command line.
            ours = None if item.default == "" else item.default
            theirs = None if parameter.default == () else parameter.default
            if item.name == "classes" and stage in ("select", "mine"):
                # A command has embeddings, of which classes can be found; a function gets arrays.
                assert (ours, theirs) == ("auto", None)
                continue
            assert ours == theirs or float(ours) == float(theirs), item.name


@pytest.mark.parametrize("stage", FUNCTIONS)
def test_words_are_the_same(stage):
    function = FUNCTIONS[stage]
    hints = typing.get_type_hints(inspect.unwrap(function))
    hints = {ALIASES.get((stage, name), name): hint for name, hint in hints.items()}
    for group in STAGES[stage]:
        for name, hint in typing.get_type_hints(group).items():
            if words_of(hint) and name in hints:
                own = set(words_of(hints[name]))
                assert own == set(words_of(hint)) - {"zero-shot"}, name


@pytest.mark.parametrize(
    "documented", [*FUNCTIONS.values(), cs.pretrain, cs.AugmentationSimilaritySelector]
)
def test_every_argument_is_documented(documented):
    text = inspect.getdoc(documented) or ""
    for name, parameter in inspect.signature(documented).parameters.items():
        assert re.search(rf"^ +{name}: ", text, re.MULTILINE), name
        hint = typing.get_type_hints(inspect.unwrap(documented)).get(name)
        if words_of(hint) and len(words_of(hint)) < 8:
            assert all(f"`{word}`" in text for word in words_of(hint)), name
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD


def test_words_stand_beside_what_they_name():
    assert typing.get_args(words.ObjectiveName) == tuple(OBJECTIVES)
    assert typing.get_args(words.TrainingMethod) == tuple(METHODS)
    assert typing.get_args(words.StepRule) == tuple(LEARNING_RATES)
    assert typing.get_args(words.ClassMethod) == CLASS_METHODS
    assert typing.get_args(words.RunClassMethod) == (*CLASS_METHODS, "zero-shot")
    from contrasift.training.views import AUGMENTATIONS

    assert set(typing.get_args(words.AugmentationName)) == {"auto", *AUGMENTATIONS}


def test_every_reason_is_of_an_option_that_there_is():
    for (stage, _), reasons in MISSING.items():
        known = names(stage) | set(inspect.signature(FUNCTIONS.get(stage, cs.pretrain)).parameters)
        assert set(reasons) <= known
        assert all(reasons.values())


@pytest.mark.parametrize(
    ("group", "made_before"),
    [
        (PoolOptions, "de4e466e561454d7"),
        (EmbedOptions, "0d998a37c726c4c2"),
        (ClassesOptions, "a1db0b56fe01cda0"),
        (SelectOptions, "8420fc82f7616a8b"),
        (TrainOptions, "bf81b3dae37c17b7"),
        (CompareOptions, "dc4f1a7372c538f0"),
    ],
)
def test_fingerprints_are_those_of_version_0_1_0(group, made_before):
    assert group().fingerprint("x") == made_before


def test_an_option_that_came_later_counts_where_it_is_not_its_default():
    given = SelectOptions(fraction=0.2, optimizer="relaxed", redundancy=0.5)
    assert given.fingerprint("a", "b") == "901696c3777238df"
    assert dataclasses.replace(given, steps=5).fingerprint("a", "b") != "901696c3777238df"
    assert ClassesOptions(iterations=5).fingerprint("x") != ClassesOptions().fingerprint("x")


# What is wrong and where: the same text for Python and for the command line.
def errors_outside_of_the_command_line():
    """Every text in a call that makes an error, by file and line, without what is quoted code."""
    makers = {"require", "check_choice"}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name == "cli":
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(call, "func", None), "id", "")
            if not isinstance(call, ast.Call) or not (name.endswith("Error") or name in makers):
                continue
            for part in ast.walk(call):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    text = re.sub(r"`[^`]*`", "", part.value)
                    yield f"{path.relative_to(SOURCE)}:{part.lineno}", text


def test_no_error_of_the_library_names_a_flag():
    # Whole commands to type may be named: they are the same for everybody.
    commands = re.compile(
        r"contrasift [a-z]+ |^ --(fraction|subset) |^ --update$|^ NEWPOOL --out DIR$"
    )
    found = {
        where: text
        for where, text in errors_outside_of_the_command_line()
        if re.search(r"--[a-z{]", text) and not commands.search(text)
    }
    assert found == {}


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("threshold= in [-1, 1]", "--threshold in [-1, 1]"),
        ("optimizer='relaxed'.", "--optimizer relaxed."),
        ("Lower min_per_class=1, or", "Lower --min-per-class 1, or"),
        ("a fifth is fraction=0.2.", "a fifth is --fraction 0.2."),
        ("pass update=True to", "pass --update to"),
        ("views=0 and plain_view=False", "--views 0 and --no-plain-view"),
        ("few_labels='' and label_share=None", "no --few-labels and no --label-share"),
        ('negatives="a & ~b"', "--negatives 'a & ~b'"),
        ("give them as known=", "give them as --few-labels"),
        ("budget=N", "--budget N"),
        # No option, or no word of its own.
        ("nothing= of it", "nothing= of it"),
        ("in seed=3/part.npy", "in seed=3/part.npy"),
        ("/data/seed=3", "/data/seed=3"),
        ("a==b and x.seed=3", "a==b and x.seed=3"),
    ],
)
def test_arguments_are_shown_as_flags(python, shell):
    assert as_flags(python) == python  # no command is running
    command = program()
    before = RUNNING.set(typer.Context(command))
    try:
        assert as_flags(python) == shell
    finally:
        RUNNING.reset(before)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 0.2, "budget": 3}, "budget"),
        ({"budget": 61}, "budget"),
        ({"budget": 3, "redundancy": -1.0}, "redundancy"),
        ({"budget": 3, "threshold": 2.0}, "threshold"),
        ({"budget": 3, "objective": "best"}, "objective"),
        ({"budget": 3, "objective": "random", "threshold": 0.5}, "threshold"),
        ({"budget": 3, "objective": "random", "min_per_class": 1}, "min_per_class"),
        ({"budget": 3, "allocate": "global", "min_per_class": 1}, "min_per_class"),
        ({"budget": 3, "optimizer": "relaxed", "refine": "swaps"}, "optimizer"),
        ({"budget": 3, "steps": 5}, "steps"),
        ({"budget": 3, "objective": "coverage", "epsilon": 0.1}, "epsilon"),
        ({"fraction": 0.9, "redundancy": 1.0, "optimizer": "relaxed"}, "redundancy"),
    ],
)
def test_one_mistake_is_told_in_arguments_and_in_flags(wrong, named):
    rows = np.random.default_rng(0).random((60, 4))
    np.save("rows.npy", rows)
    with pytest.raises(UsageError, match=rf"\b{named}\b") as told:
        cs.select(rows, **wrong)
    assert not re.search(r"--[a-z]", str(told.value))
    given = [word for name, value in wrong.items() for word in (flag_of(name), str(value))]
    shown = CliRunner().invoke(app, ["select", "rows.npy", *given, "--out", "out"])
    assert shown.exit_code == 2
    text = " ".join(shown.output.split())
    assert flag_of(named) in text or "a budget" in text or named == "budget"
    assert not re.search(r"\b[a-z_]+=", text)


def flag_of(name):
    return f"--{name.replace('_', '-')}"


def test_a_wrong_word_reaches_the_library_s_own_message():
    @typechecked
    def choose(word: words.Optimizer) -> str:
        return word

    assert choose("quick") == "quick"  # type: ignore[arg-type]
