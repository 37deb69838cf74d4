"""The recipes by name, and their options as a file or the command line gives them."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from encoder.errors import EncoderError
from encoder.recipes.base import Recipe, RecipeOptions
from encoder.recipes.fixmatch import FixMatch
from encoder.recipes.mean_teacher import MeanTeacher
from encoder.recipes.sefar import Sefar
from encoder.recipes.sefar_released import SefarReleased
from encoder.recipes.svformer import SVFormer

#: The training methods. Each has its own options, ``RECIPES[name].Options``.
RECIPES: dict[str, type[Recipe]] = {
    "supervised": Recipe,
    "sefar": Sefar,
    "sefar_released": SefarReleased,
    "mean_teacher": MeanTeacher,
    "fixmatch": FixMatch,
    "svformer": SVFormer,
}


def find_recipe(name: str) -> type[Recipe]:
    """The class of that name. Raises EncoderError naming those there are."""
    if name not in RECIPES:
        raise EncoderError(f"recipe {name!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class _Choice:
    """Which method trains the encoder, and those of its own options that are given; one of another method is
    an error.

    Attributes:
        name: supervised, sefar, sefar_released, mean_teacher, fixmatch or svformer.
    """

    name: str = "sefar"

    def __post_init__(self) -> None:
        _ = self.options

    @property
    def options(self) -> RecipeOptions:
        """The recipe's options, with its defaults for those not given.

        Raises:
            EncoderError: There is no such recipe, or it has no such option.
        """
        kind = find_recipe(self.name).Options
        given = {key: value for key, value in vars(self).items() if key != "name" and value is not None}
        own = [field.name for field in fields(kind)]
        if foreign := [key for key in given if key not in own]:
            raise EncoderError(
                f"recipe.{', recipe.'.join(foreign)}: no option of {self.name!r}, which has "
                f"{', '.join(own) or 'none'}; leave it out, set it to null, or choose another recipe.name"
            )
        return kind(**given)

    def as_json(self) -> dict[str, Any]:
        """The name, and all options of the recipe."""
        return {"name": self.name, **asdict(self.options)}

    def switched(self, name: str) -> RecipeConfig:
        """Another recipe, with the values of those options that it has too."""
        own = {field.name for field in fields(find_recipe(name).Options)}
        return RecipeConfig(name, **{key: value for key, value in asdict(self.options).items() if key in own})


def _documented(options: type[RecipeOptions]) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of each option."""
    texts = {}
    for kind in reversed(options.__mro__):
        section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
        for entry in re.split(r"^ {4}(?=\w)", section, flags=re.MULTILINE)[1:]:
            name, _, text = entry.partition(":")
            texts[name] = " ".join(text.split())
    return texts


def _all_options() -> dict[str, tuple[Any, str]]:
    """Every option of any recipe: its type, and what it is."""
    users: dict[str, list[str]] = {}
    for name, recipe in RECIPES.items():
        for field in fields(recipe.Options):
            users.setdefault(field.name, []).append(name)
    options = {}
    for option, names in users.items():
        kind = RECIPES[names[0]].Options
        text = f"{_documented(kind)[option]} Default {getattr(kind, option)}; of {', '.join(names)}."
        options[option] = get_type_hints(kind)[option], text
    return options


if TYPE_CHECKING:

    class RecipeConfig(_Choice):
        """Stands for the class below, whose fields a type checker cannot know."""

        def __init__(self, name: str = "sefar", **options: float | None) -> None: ...

else:
    _OPTIONS = _all_options()
    RecipeConfig = make_dataclass(
        "RecipeConfig",
        [(name, kind | None, None) for name, (kind, _) in _OPTIONS.items()],
        bases=(_Choice,),
        frozen=True,
        namespace={
            "__module__": __name__,
            "__doc__": "\n".join(
                [
                    _Choice.__doc__.rstrip(),
                    *(f"        {name}: {text}" for name, (_, text) in _OPTIONS.items()),
                ]
            ),
        },
    )
