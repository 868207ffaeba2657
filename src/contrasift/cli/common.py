"""What the stage commands share: common flags, merging options, and opening a run."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.catalogue import nearest
from contrasift.cli.console import ConsoleNarrator, print_json
from contrasift.cli.engine import Address, EngineFlag, EngineName, reached
from contrasift.cli.flags import HOW, pick
from contrasift.errors import RunFolderError, UsageError
from contrasift.options.words import RunClassMethod

if TYPE_CHECKING:
    from contrasift.cli.engine import Connect
    from contrasift.options import RunOptions
    from contrasift.pipeline.run import Run
    from contrasift.store.run import StageRecord

RUN_METHODS = typing.get_args(RunClassMethod)
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
Device = Annotated[
    str, typer.Option("--device", help="`auto`, `cpu`, `cuda`, `mps`, ...", rich_help_panel=HOW)
]
Update = Annotated[
    bool,
    typer.Option(
        "--update",
        help="Do stages again in place that were finished under other options.",
        rich_help_panel=HOW,
    ),
]
PoolPlace = Annotated[
    str | None,
    typer.Option(
        "--pool",
        metavar="PLACE",
        help="Where the run's pool is now, if it has moved: taken if its content is the same.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress, only results.", rich_help_panel=HOW)
]
Json = Annotated[
    bool, typer.Option("--json", help="Results as JSON on standard output.", rich_help_panel=HOW)
]


def merge_options(
    recipe: str | None, given: Mapping[str, Any], base: RunOptions | None = None
) -> RunOptions:
    """Defaults (or a run's own options), then the recipe's, then the flags that were given."""
    from contrasift.options import GROUPS, ClassesOptions, RunOptions
    from contrasift.store.run import find_recipe, read_recipe_mapping

    values: dict[str, dict[str, Any]] = base.as_dict() if base else {}
    if recipe is not None:
        for name, section in read_recipe_mapping(find_recipe(recipe)).items():
            values.setdefault(name, {}).update(section)
    for name, kind in GROUPS.items():
        flags = classes_given(given) if kind is ClassesOptions else pick(given, kind)
        section = values.setdefault(name, {})
        # A fraction replaces a budget and the other way round.
        if "fraction" in flags:
            section["budget"] = None
        if "budget" in flags:
            section["fraction"] = None
        if base and flags.get("classes", base.classes.classes) != base.classes.classes:
            # Another method begins anew: what the one before took may not be its own.
            values["classes"] = section = {"seed": base.classes.seed}
        section.update(flags)
    if values["select"].get("fraction") is None and values["select"].get("budget") is None:
        values["select"]["fraction"] = 0.2
    return RunOptions.from_mapping(values)


def classes_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of `ClassesOptions`, where `--classes` may be a method or a file.

    Raises:
        UsageError: neither; says the nearest method.
    """
    from contrasift.options import ClassesOptions

    flags = pick(given, ClassesOptions)
    word = flags.get("classes")
    if word is None or word in RUN_METHODS:
        return flags
    from contrasift.store.objects import is_url

    if not (is_url(word) or Path(word).exists()):
        raise UsageError(
            f"classes= as a file, or one of {', '.join(RUN_METHODS)}",
            word,
            nearest(word, RUN_METHODS),
        )
    return flags | {"classes": "labels", "classes_file": word}


@dataclass(frozen=True)
class How:
    """How a command runs, which no result depends on; its fields are flags.

    Attributes:
        moved_to: where the run's pool is now.
        device: where networks run.
        engine: what runs the work.
        address: of the cluster.
        update: do stages again in place.
        quiet: say nothing but results.
        as_json: results as JSON.
    """

    moved_to: PoolPlace = None
    device: Device = "auto"
    engine: EngineFlag = EngineName.local
    address: Address = None
    update: Update = False
    quiet: Quiet = False
    as_json: Json = False

    @cached_property
    def narrator(self) -> ConsoleNarrator:
        """Who tells of it: nobody beside JSON."""
        return ConsoleNarrator(quiet=self.quiet or self.as_json)

    def reached(self) -> contextlib.AbstractContextManager[Connect | None]:
        """What connects to the cluster, or None: see `reached`."""
        return reached(self.engine, self.address, self.narrator.say)

    @contextlib.contextmanager
    def new_run(self, folder: Path, options: RunOptions) -> Iterator[Run]:
        """Lock the folder, refuse another run's, keep the options, and hand out the run."""
        from contrasift.pipeline.run import Run
        from contrasift.store.run import RunFolder
        from contrasift.store.selections import refuse_sampled

        if folder.exists() and not folder.is_dir():
            raise RunFolderError("a folder for --out", f"{folder}, a file")
        there = RunFolder(folder)
        if not there.options_path.exists() and there.holds_other_files:
            raise RunFolderError(
                "an empty folder, or one that holds a run",
                f"{folder}, which holds other files",
                "Choose another --out",
            )
        narrator = self.narrator
        with self.reached() as connect, there.locked(narrator.say):
            if there.options_path.exists():
                options = _named_as_there(there, options)
                _refuse_other_options(there, options, update=self.update)
                refuse_sampled(folder, options.select.optimizer)
            there.write_options(options)
            yield Run(there, options, narrator, self.device, self.update, connect)

    def run(
        self, folder: Path, given: Mapping[str, Any] = MappingProxyType({})
    ) -> contextlib.AbstractContextManager[Run]:
        """Open an existing run with some options changed by flags, its pool perhaps at another place."""
        from contrasift.store.run import RunFolder

        if self.moved_to is not None:
            from contrasift.pipeline.pool_of_run import move_pool

            move_pool(folder, self.moved_to, self.narrator.say)
        base = RunFolder.existing(folder).read_options()
        return self.new_run(folder, merge_options(None, given, base))


# The stages that depend on each group of options.
_STAGES_OF = {
    "pool": ("scan",),
    "embed": ("embed",),
    "classes": ("classes",),
    "select": ("select",),
    "train": ("proxy", "train"),
    "switch": ("train",),
}
# Options of `train` that the proxy does not share: see `proxy_options`.
_NOT_OF_THE_PROXY = ("negatives", "negatives_schedule", "queue_reserve")


def _named_as_there(folder: Any, options: RunOptions) -> RunOptions:
    """What greedy did is what `auto` wants, and was the default before there was `auto`."""
    there = folder.read_options().select.optimizer
    if (there, options.select.optimizer) != ("greedy", "auto"):
        return options
    return dataclasses.replace(
        options, select=dataclasses.replace(options.select, optimizer="greedy")
    )


def _refuse_other_options(folder: Any, options: RunOptions, *, update: bool) -> None:
    """Say at once, before any work, which options differ from those of finished stages."""
    if update:
        return
    before, now = folder.read_options().resolved().as_dict(), options.resolved().as_dict()
    finished = {name.split(" ")[0] for name in folder.records()}
    changed = [
        f"{key.replace('_', '-')} is {before[group][key]} there and {now[group][key]} here"
        for group, stages in _STAGES_OF.items()
        if finished.intersection(stages)
        for key in now[group]
        if now[group][key] != before[group].get(key)
        and not (key in _NOT_OF_THE_PROXY and "train" not in finished)
    ]
    if changed:
        raise RunFolderError(
            f"the options of the run in {folder.path}",
            "; ".join(changed),
            "Choose another --out, or pass --update to do the changed stages again in place",
        )


def print_stage(folder: Path, stage: str, record: StageRecord, **more: Any) -> None:
    """A finished stage as JSON: seconds, files, facts, and what else belongs to it."""
    result = {
        "run": str(folder),
        "stage": stage,
        "seconds": record.seconds,
        "files": [str(folder / name) for name in record.files],
        "facts": dict(record.facts),
    }
    print_json({**result, **more})
