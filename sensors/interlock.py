"""Outputs of which never two may be on together: the two directions of a motor, two valves on one pump.

An agent has one `Interlocks`. A member asks `claim`, and is on only between a `take` that gave it the group and its
`release`; the others see that they no longer stand, and go off first. A member whose pin nobody has seen yet, or that
failed, may be on whatever it was told: until it is vouched for, no other comes on. Every call may come from any thread.
"""

import math
from collections.abc import Callable
from threading import Lock


class Interlock:
    """One group, its members by name; at most one of them has it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._members: dict[str, Callable[[], None]] = {}
        self._holder: str | None = None  # the one that is on, or may be
        self._is_told_off = False  # it is to give way, whether or not the other still wants to come on
        self._claimant: str | None = None  # the one that is to be on next
        self._absent: set[str] = set()  # not seen since the start: a pin outlasts the agent that was killed
        self._doubtful: set[str] = set()  # failing
        self._off_since: dict[str, float] = {}
        self._is_over = False

    def expect(self, name: str) -> None:
        """Know of a member before it joins."""
        with self._lock:
            self._absent.add(name)

    def join(self, name: str, stir: Callable[[], None]) -> None:
        """Take part; `stir` is called from any thread when a member should look at the group again."""
        with self._lock:
            self._members[name] = stir

    def vouch(self, name: str, now: float) -> None:
        """Tell that a member's pin was seen, and is as the group has it: on for who has the group, else off."""
        with self._lock:
            if name not in self._absent | self._doubtful:
                return
            self._absent.discard(name)
            self._doubtful.discard(name)
            if self._holder != name:
                self._off_since[name] = now  # until now it may have been on
        self._stir(name)

    def doubt(self, name: str) -> None:
        """Tell that nobody knows whether a member is on: whoever is, goes off; who waits for it waits in vain."""
        with self._lock:
            self._doubtful.add(name)
            self._claimant = None
        self._stir(name)

    def unseen(self, name: str) -> list[str]:
        """Name the others that may be on although they have not the group."""
        with self._lock:
            return sorted((self._absent | self._doubtful) - {name})

    def begin(self, name: str) -> bool:
        """Have the group from the start; False where another has it, or may be on against its will."""
        with self._lock:
            if self._holder not in {None, name} or self._claimant not in {None, name} or self._doubtful - {name}:
                return False
            self._holder = name
            return True

    def leave(self, name: str) -> None:
        """Take part no longer. Who is still on keeps the group: nobody else may come on beside it."""
        with self._lock:
            self._members.pop(name, None)
            if self._claimant == name:
                self._claimant = None

    def claim(self, name: str) -> None:
        """Want to be on; whoever is on, or wanted to be, is to give way."""
        with self._lock:
            self._claimant = None if self._holder == name else name
            self._is_told_off = self._holder not in {None, name}
        self._stir(name)

    def withdraw(self, name: str) -> None:
        """Not want to be on any more."""
        with self._lock:
            if self._claimant == name:
                self._claimant = None

    def stands(self, name: str) -> bool:
        """Whether this member may still be on, or wait to be."""
        with self._lock:
            if self._doubtful - {name}:
                return False
            return self._claimant == name or (self._holder == name and not self._is_told_off)

    def take(self, name: str, now: float, wait_s: float = 0.0) -> float | None:
        """Come on: None says that the group is the member's; else when to try again, at the earliest.

        `wait_s` passes between another member's going off and this one's coming on.
        """
        with self._lock:
            if self._is_over or self._is_told_off:
                return math.inf  # it will be stirred
            if self._claimant not in {None, name} or self._holder not in {None, name}:
                return math.inf  # as well
            if (self._absent | self._doubtful) - {name}:
                return math.inf  # as well
            free_at = max((at for other, at in self._off_since.items() if other != name), default=-math.inf) + wait_s
            if now < free_at:
                return free_at
            self._holder, self._claimant = name, None
            return None

    def release(self, name: str, now: float) -> None:
        """Be off: the next may come on."""
        with self._lock:
            if self._holder != name:
                return
            self._holder, self._is_told_off = None, False
            self._off_since[name] = now
        self._stir(name)

    def end(self) -> None:
        """Let nobody come on any more, whoever goes off."""
        with self._lock:
            self._is_over = True

    def _stir(self, but: str) -> None:
        with self._lock:
            others = [stir for name, stir in self._members.items() if name != but]
        for stir in others:
            stir()


class Interlocks:
    """The groups of one agent, by name."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._groups: dict[str, Interlock] = {}

    def group(self, name: str) -> Interlock:
        """Give the group; it is made when it is first asked for."""
        with self._lock:
            return self._groups.setdefault(name, Interlock())

    def end(self) -> None:
        """At the agent's end all go off, and nobody comes on because another does."""
        with self._lock:
            groups = list(self._groups.values())
        for group in groups:
            group.end()
