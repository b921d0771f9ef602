"""What every config shares: the parser of `preset[,smoke][,key=value...]` and the training defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

import partrep


def parse(
    argument: str | None,
    presets: Sequence[str],
    keys: dict[str, Sequence[str]],
    presets_of: dict[str, Sequence[str]] | None = None,
) -> tuple[str, bool, dict[str, str]]:
    """Splits a config argument into (preset, smoke, {key: value}).

    The first preset is the default. `keys` maps each declared key to its values, the first of them the default;
    an empty sequence admits any text. `presets_of` names the presets of a key that not all presets have.

    >>> parse("b,smoke,size=64", ["a", "b"], {"size": ["32", "64"]})
    ('b', True, {'size': '64'})
    >>> parse(None, ["a", "b"], {"size": ["32", "64"]})
    ('a', False, {'size': '32'})
    """
    preset, smoke = presets[0], False
    values = {key: options[0] if options else "" for key, options in keys.items()}
    given = []
    for index, word in enumerate(w.strip() for w in (argument or "").split(",") if w.strip()):
        key, equals, value = word.partition("=")
        if equals:
            given.append(_known_key(key, keys))
            values[key] = _known_value(key, value, keys)
        elif word == "smoke":
            smoke = True
        elif index == 0 and word in presets:
            preset = word
        else:
            raise partrep.UserError(
                f"unknown preset {word!r}; expected one of {', '.join(presets)}, then smoke or key=value"
            )
    for key in given:
        having = (presets_of or {}).get(key, presets)
        if preset not in having:
            raise partrep.UserError(f"preset {preset!r} has no key {key!r}; expected it with {', '.join(having)}")
    return preset, smoke, values


def _known_key(key: str, keys: dict[str, Sequence[str]]) -> str:
    if key not in keys:
        raise partrep.UserError(f"unknown key {key!r} in the config argument; expected one of {', '.join(keys)}")
    return key


def _known_value(key: str, value: str, keys: dict[str, Sequence[str]]) -> str:
    if keys[key] and value not in keys[key]:
        raise partrep.UserError(f"unknown value {key}={value!r}; expected one of {', '.join(keys[key])}")
    return value


def training() -> ConfigDict:
    """The loop's settings that no task changes by itself."""
    return ConfigDict(dict(log_every=25, checkpoint_every=200, keep=2, ema=0.98, validate_every=0, best=""))


def one_cycle(learning_rate: float) -> ConfigDict:
    """AdamW under one cycle."""
    return ConfigDict(dict(name="adamw", learning_rate=learning_rate, schedule="one_cycle", warmup=0.2,
                           weight_decay=0.05, clip=1.0))  # fmt: skip


def muon_one_cycle(learning_rate: float, **changes: Any) -> ConfigDict:
    """Muon on the kernels of convolutions under one cycle: on two CPU cores, half the steps of AdamW or fewer."""
    return ConfigDict({**one_cycle(learning_rate), "name": "muon", **changes})
