"""Messages between a process and its worker: frames of bytes on a pipe."""

import dataclasses
import importlib
import pickle
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")


def write_frame(stream: BinaryIO, message: Any) -> None:
    """Write one message as its length and its bytes."""
    try:
        payload = pickle.dumps(message, protocol=5)
    except Exception as error:  # of the many that pickle raises: something that belongs to one process, such as a file
        complaint = f"expected columns of numbers and text, got what cannot be sent: {error}"
        payload = pickle.dumps({"raised": "RewardContractError", "message": complaint}, protocol=5)
    stream.write(_LENGTH.pack(len(payload)) + payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """Read the next message.

    Raises:
        EOFError: when the other side is gone.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return pickle.loads(payload)


def as_message(batch: Any) -> dict[str, Any]:
    """Take a batch apart: where its class is defined, and its arrays."""
    arrays = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {"kind": (type(batch).__module__, type(batch).__qualname__), "arrays": arrays}


def from_message(message: dict[str, Any]) -> Any:
    """Build the batch that `as_message` took apart."""
    # A plug-in's own class is where it is here: a module is called after its file, which the worker has loaded too.
    module, name = message["kind"]
    made: Any = importlib.import_module(module)
    for part in name.split("."):
        made = getattr(made, part)
    return made(**message["arrays"])
