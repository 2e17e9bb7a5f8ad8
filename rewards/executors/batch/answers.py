"""Answers that workers wrote into the folder, read back; whoever wrote them may have been stopped at it."""

import json

from oreflow.rewards.executors.batch.folder import RequestFolder
from oreflow.rewards.executors.protocol import KINDS, Answer, Work


class UnreadableAnswer(Exception):
    """An answer that says nothing; the message says why."""


def read_answer(folder: RequestFolder, work: Work, task_id: str) -> Answer:
    """Read the answer to a task.

    Args:
        work: what was asked; its `decode_value` makes the value of what stands in the file.

    Raises:
        UnreadableAnswer: when the file cannot be read, is cut off, answers something else, or holds no such value.
    """
    try:
        data = json.loads(folder.answer(task_id).read_text(encoding="utf-8"))
    except ValueError:
        raise UnreadableAnswer("expected JSON, got what is cut off or none") from None
    except OSError as error:
        raise UnreadableAnswer(error.strerror or str(error)) from None
    if not isinstance(data, dict) or data.get("id") != task_id:
        raise UnreadableAnswer(
            f"expected the answer to {task_id}, got that to {data.get('id') if isinstance(data, dict) else data!r}"
        )
    kind = data.get("kind", "done" if data.get("value") is not None else "raised")
    if kind not in KINDS:
        raise UnreadableAnswer(f"expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
    seconds, reason = data.get("seconds") or 0.0, str(data.get("reason") or "no value and no reason given")
    try:
        value = work.decode_value(data.get("value")) if kind == "done" else None
        return Answer(
            task_id, kind, value, "" if kind == "done" else reason, float(seconds), str(data.get("output") or "")
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableAnswer(f"its value cannot be read: {error}") from None


def has_value(folder: RequestFolder, work: Work, task_id: str) -> bool:
    """Whether the answer to a task can be read, and is a value."""
    try:
        return read_answer(folder, work, task_id).kind == "done"
    except UnreadableAnswer:
        return False
