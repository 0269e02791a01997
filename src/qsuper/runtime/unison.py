"""Several members suspended or resumed at once: who can, who did, and how far apart."""

from collections.abc import Callable
from typing import Final

import trio

from qsuper.errors import QsuperError, TimedOutError
from qsuper.runtime import states
from qsuper.runtime.guest import Guest
from qsuper.runtime.states import Reason, State
from qsuper.runtime.sync import ANSWER_WITHIN_S, Answer, signal_all, skew_us
from qsuper.runtime.urgency import urgent
from qsuper.runtime.verbs import Verb

_REASONS: Final = {Verb.SUSPEND: Reason.USER, Verb.RESUME: Reason.UNPAUSED}
_STATES: Final = {Verb.SUSPEND: State.PAUSED, Verb.RESUME: State.RUNNING}
_CANDIDATES: Final = {Verb.SUSPEND: states.CAN_SUSPEND, Verb.RESUME: states.CAN_RESUME}


async def in_unison(
    verb: Verb, guests: list[Guest], tell: Callable[[list[str], int | None], None]
) -> int | None:
    """Suspend or resume members, and note where they stand.

    Args:
        verb: Which of the two.
        guests: Whom; those that are neither running nor paused are passed over.
        tell: Takes the names of those that were asked, and the skew.

    Returns:
        The time between the first one and the last one, in microseconds; None for fewer than two.

    Raises:
        QsuperError: QEMU refuses, or there is nobody to be asked.
        TimedOutError: one of them does not answer; the others did what they should.
    """
    with trio.move_on_after(ANSWER_WITHIN_S):
        for guest in guests:
            await guest.steady()
    able = [guest for guest in guests if guest.standing.state in _CANDIDATES[verb]]
    if not able:
        raise QsuperError(f"cannot {verb}: {', '.join(f'{g.name} is {g.state}' for g in guests)}")
    links = {guest.name: guest.link for guest in able if guest.link}
    pids = (guest.process.pid for guest in able)
    with urgent(pids, vcpus=verb is Verb.SUSPEND) as calm:
        answers = await signal_all(links, verb, calm)
    for guest in able:
        if guest.name in answers:
            await _note(guest, verb, answers[guest.name])
    skew = skew_us(answers)
    tell(list(answers), skew)
    silent = [guest.name for guest in able if answers.get(guest.name) is None]
    if silent:
        done = ", ".join(f"{g.name} is {g.state}" for g in guests if g.name not in silent)
        raise TimedOutError(
            f"{', '.join(silent)}: QEMU's monitor gave no answer within {ANSWER_WITHIN_S:g} s"
            + (f" ({done})" if done else "")
        )
    if refused := [
        f"{name}: {answer.error}" for name, answer in answers.items() if answer and answer.error
    ]:
        raise QsuperError("; ".join(refused))
    return skew


async def _note(guest: Guest, verb: Verb, answer: Answer | None) -> None:
    """Note what a member's answer says of where it stands."""
    if answer is None:
        guest.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
    elif answer.at_us is not None:
        if verb is Verb.RESUME:
            guest.release()
        guest.change(_STATES[verb], _REASONS[verb])
    elif guest.standing.state is State.UNRESPONSIVE:
        await guest.refresh()
