"""Few-shot episodes: N ways, K shots, drawn by seed, within one group and across values of an attribute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError


class Episode(NamedTuple):
    """Indices into the source. `EpisodeSampler.batch` puts an axis of episodes before each.

    support int[C,n], query int[Q] (Q = C x queries, class by class), query_label int[Q] in 0..C-1,
    classes int[C] (labels of the source), support_mask bool[C,n], group int (0 without groups).
    """

    support: np.ndarray
    query: np.ndarray
    query_label: np.ndarray
    classes: np.ndarray
    support_mask: np.ndarray
    group: np.ndarray


class EpisodeSampler:
    """`sampler[t] -> Episode`, a pure function of (seed, t); `sampler.batch(t, E)` stacks t .. t+E-1.

    The group is drawn first, each with equal chance, then its classes. With an attribute, two of its values
    are drawn: all supports have the first and all queries the second, as one drawer draws the training set
    and another the test set of an official Omniglot run. Supports and queries are disjoint.

    Args:
        labels: int[n], the class of each example.
        ways, shots, queries: classes an episode, supports a class, queries a class.
        seed: any int >= 0.
        groups: int[n]; all classes of an episode come from one group. A class lies in one group.
        attribute: int[n], such as the drawer.
        alike: bool[C,C] over the sorted labels. The first class of an episode is then drawn from those that have
            enough others alike to them, and the others from these (which need not be alike to each other).

    Raises:
        UserError: no group has enough classes with enough examples; with `alike`, no class enough others.

    >>> sampler = EpisodeSampler(np.repeat(np.arange(5), 4), ways=3, shots=1, queries=2, seed=0)
    >>> episode = sampler[7]
    >>> episode.support.shape, episode.query.shape, episode.query_label
    ((3, 1), (6,), array([0, 0, 1, 1, 2, 2], dtype=int32))
    """

    def __init__(
        self,
        labels: np.ndarray,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        groups: np.ndarray | None = None,
        attribute: np.ndarray | None = None,
        alike: np.ndarray | None = None,
    ):
        if min(ways, shots, queries) < 1:
            raise UserError(f"{ways} ways, {shots} shots, {queries} queries; expected at least 1 of each")
        self.ways, self.shots, self.queries, self.seed = ways, shots, queries, seed
        self._names, label = np.unique(labels, return_inverse=True)
        group, class_group = class_groups(label, groups)
        self._alike = alike
        if alike is not None and alike.shape != (len(self._names),) * 2:
            wanted = f"a row and a column for {len(self._names)} classes"
            raise UserError(f"alike has the shape {alike.shape}; expected {wanted}")
        value = np.zeros_like(label) if attribute is None else np.unique(attribute, return_inverse=True)[1]
        self._build_cells(label, value)
        self._choices = self._feasible(class_group, crossed=attribute is not None)
        if not self._choices:
            raise UserError(self._shortage(group, class_group, attribute))
        if alike is not None:
            self._keep_hubs()

    def _keep_hubs(self) -> None:
        """Lets go of the groups and values in which no class has enough others alike to it."""
        kept = [(group, [cell for cell in cells if len(cell[3])]) for group, cells in self._choices]
        self._choices = [(group, cells) for group, cells in kept if cells]
        if not self._choices:
            raise UserError(f"no class has {self.ways - 1} others alike to it; expected one, for {self.ways} ways")

    def _hubs(self, classes: np.ndarray) -> np.ndarray:
        """The classes that an episode may begin with: those with enough others alike to them among the classes."""
        if self._alike is None:
            return classes
        others = self._alike[np.ix_(classes, classes)].sum(1) - self._alike[classes, classes]
        return classes[others >= self.ways - 1]

    def _draw_classes(self, rng: np.random.Generator, classes: np.ndarray, hubs: np.ndarray) -> np.ndarray:
        if self._alike is None:
            return rng.permutation(classes)[: self.ways]
        first = rng.choice(hubs)
        others = classes[self._alike[first, classes] & (classes != first)]
        return np.append(first, rng.permutation(others)[: self.ways - 1])

    def _build_cells(self, label: np.ndarray, value: np.ndarray) -> None:
        """Examples sorted by (class, value): `_order[_start[c,v] : _start[c,v] + _count[c,v]]`."""
        classes, values = label.max(initial=-1) + 1, value.max(initial=-1) + 1
        self._order = np.lexsort((value, label)).astype(np.int32)
        self._count = np.bincount(label * values + value, minlength=classes * values).reshape(classes, values)
        self._start = (np.cumsum(self._count) - self._count.ravel()).reshape(classes, values)

    def _feasible(self, class_group: np.ndarray, crossed: bool) -> list[tuple[int, list]]:
        """For each group that can make episodes: its number, its (support value, query value, classes, hubs)."""
        choices = []
        for group in np.unique(class_group):
            members = np.flatnonzero(class_group == group)
            count = self._count[members]
            if not crossed:
                enough = count[:, 0] >= self.shots + self.queries
                cells = [(0, 0, members[enough])]
            else:
                fit = (count >= self.shots)[:, :, None] & (count >= self.queries)[:, None, :]
                pairs = np.argwhere(fit.sum(0) >= self.ways)
                cells = [(a, b, members[fit[:, a, b]]) for a, b in pairs if a != b]
            whole = [(*cell, self._hubs(cell[2])) for cell in cells if len(cell[2]) >= self.ways]
            if whole:
                choices.append((int(group), whole))
        return choices

    def _shortage(self, group: np.ndarray, class_group: np.ndarray, attribute: np.ndarray | None) -> str:
        """One line that names what was asked and what the examples offer."""
        found = f"{len(self._order)} examples of {len(class_group)} classes"
        if len(group) > 1:
            found += f" in {len(group)} groups (at most {np.bincount(class_group).max()} classes in one)"
        if len(class_group):
            found += f", at most {self._count.sum(1).max()} examples a class"
        asked = f"{self.ways} classes with {self.shots} + {self.queries} examples (shots + queries) each"
        if len(group) > 1:
            asked += " in one group"
        if attribute is not None:
            asked += ", the shots of one attribute value and the queries of another"
            found += f", {self._count.shape[1]} attribute values"
            found += f" (at most {self._count.max(initial=0)} examples of one class and value)"
        return f"too few examples for episodes: {found}; expected {asked}"

    @property
    def groups(self) -> list[int]:
        """The groups that can make an episode (numbers as given; 0 without groups)."""
        return [group for group, _ in self._choices]

    def __getitem__(self, t: int) -> Episode:
        rng = np.random.default_rng([self.seed, t])
        group, cells = self._choices[rng.integers(len(self._choices))]
        support_value, query_value, classes, hubs = cells[rng.integers(len(cells))]
        chosen = self._draw_classes(rng, classes, hubs)
        if support_value == query_value:
            both = self._draw(rng, chosen, support_value, self.shots + self.queries)
            support, query = both[:, : self.shots], both[:, self.shots :]
        else:
            support = self._draw(rng, chosen, support_value, self.shots)
            query = self._draw(rng, chosen, query_value, self.queries)
        label = np.repeat(np.arange(self.ways, dtype=np.int32), self.queries)
        mask = np.ones((self.ways, self.shots), bool)
        return Episode(support, query.ravel(), label, self._names[chosen], mask, np.asarray(group, np.int32))

    def _draw(self, rng: np.random.Generator, classes: np.ndarray, value: int, number: int) -> np.ndarray:
        """int[ways,number]: that many different examples of each class, with one attribute value."""
        count = self._count[classes, value]
        keys = rng.random((len(classes), count.max()))
        keys[np.arange(count.max()) >= count[:, None]] = 2.0  # beyond the last example: sorted to the end
        place = np.argsort(keys, axis=1)[:, :number]
        return self._order[self._start[classes, value][:, None] + place]

    def batch(self, t: int, episodes: int) -> Episode:
        """Episodes t .. t + episodes - 1 with a leading axis: support int[E,C,n], query int[E,Q], ..."""
        return Episode(*map(np.stack, zip(*(self[t + e] for e in range(episodes)))))


class EpisodeBatches:
    """`batches[t]`: this process's slice of the episodes t x E .. (t + 1) x E - 1, stacked.

    The slices of all processes in a row are the batch that one process alone would draw.
    """

    def __init__(self, sampler: EpisodeSampler, episodes: int, process_index: int = 0, process_count: int = 1):
        if episodes < 1 or episodes % process_count:
            raise UserError(f"{episodes} episodes a batch with {process_count} processes; expected a multiple")
        self.sampler, self.episodes, self.share = sampler, episodes, episodes // process_count
        self.first = process_index * self.share

    def __getitem__(self, t: int) -> Episode:
        return self.sampler.batch(t * self.episodes + self.first, self.share)


def class_groups(label: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The groups that occur, and the group of each class; a class in two groups raises."""
    classes = label.max(initial=-1) + 1
    if groups is None:
        return np.zeros(1, int), np.zeros(classes, int)
    pairs = np.unique(np.stack([label, groups], 1), axis=0)
    if len(pairs) != classes:
        raise UserError(f"{len(pairs) - classes} classes lie in several groups; expected one group a class")
    return np.unique(groups), pairs[:, 1]
