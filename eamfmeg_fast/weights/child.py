"""Reads one torch.save checkpoint inside a process of its own. Run by path, never imported: `python -I child.py JSON`.

It starts without the package, the user's environment and the network, takes limits before it opens the file, looks at
the archive and at every name that the serialised objects ask for before torch does, and only then lets torch read it
with `weights_only=True`. It answers in `report.json`, and with raw tensors in `tensors.safetensors`, both in its
working folder. Whoever started it trusts neither.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import resource
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

PARTS = ("generator", "kp_detector", "edge_predictor", "attention_module")
SCAN_MEMORY = 512 << 20
MAX_OBJECT_BYTES = 16 << 20
MAX_RECORDS = 20_000
MAX_TENSORS = 4096
STREAM_OBJECTS = 5  # magic, protocol, system, the checkpoint, keys of the storages
TYPES = "Float Double Half BFloat16 Long Int Short Char Byte Bool".split()
SAFE_NAMES = {
    "collections OrderedDict",
    "torch Size",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
} | {f"torch {name}Storage" for name in TYPES}
NAMING_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
BANNED_EVENTS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(Exception):
    """The checkpoint is not one that can be read: what came, what was expected, what to do."""

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        super().__init__(got)
        self.fields = {"got": got, "expected": expected, "fix": fix}


def limit_process(options: dict[str, Any]) -> None:
    """CPU time, file size, open files, no core file; memory comes with `limit_memory`."""
    seconds, size = int(options["seconds"]) + 1, int(options["max_file_bytes"])
    for kind, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def limit_memory(more: int | None, final: bool = False) -> None:
    """Address space: what is in use now and `more` bytes (None: no limit but the system's).

    Counted from now because libraries map gigabytes that never become memory. Systems without /proc go without.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    limit = hard
    if more is not None:
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + more
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit if final else hard))


def forbid(allowed: set[str]) -> None:
    """Second lock: Python code in this process can start nothing, reach nothing and write only to `allowed`."""

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = details
            if isinstance(flags, int) and flags & WRITE_FLAGS and str(path) not in allowed:
                raise Refused("it tries to write a file while loading", "tensors only", "Do not trust this file.")
        elif event.startswith(BANNED_EVENTS) and event not in ("os.listdir", "os.scandir"):
            raise Refused(f"it triggers {event} while loading", "tensors only", "Do not trust this file.")

    sys.addaudithook(hook)


def check_archive(file: BinaryIO) -> bytes:
    """The serialised objects of a zip checkpoint, once its records are known to be plain, stored and not too many."""
    size = file.seek(0, os.SEEK_END)
    try:
        archive = zipfile.ZipFile(file)
        records = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OverflowError) as error:
        raise Refused(f"a damaged zip archive ({error})", "a whole checkpoint", "Fetch it again.") from error
    names = [record.filename for record in records]
    if len(records) > MAX_RECORDS or len(set(names)) != len(names):
        raise Refused(f"{len(names)} records, {len(set(names))} different", f"at most {MAX_RECORDS}, all different")
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            raise Refused(
                f"record {record.filename} is compressed or encrypted", "stored records, as torch.save writes"
            )
    if sum(record.file_size for record in records) > size:
        raise Refused("records larger than the file, or one inside another", "records of torch.save")
    if any(name.endswith("/constants.pkl") for name in names):
        raise Refused("a TorchScript archive, which is a program", "a checkpoint of tensors", "Save its state dict.")
    objects = [record for record in records if record.filename.endswith("/data.pkl")]
    if len(objects) != 1 or objects[0].file_size > MAX_OBJECT_BYTES:
        raise Refused("no single data.pkl of sane size", "a zip archive that torch.save wrote")
    try:
        return archive.read(objects[0])
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise Refused(f"a damaged zip archive ({error})", "a whole checkpoint", "Fetch it again.") from error


def check_names(data: bytes, objects: int) -> None:
    """Refuse every name but those that plain tensors need. Walks the opcodes; executes none."""
    stream = io.BytesIO(data)
    for _ in range(objects):
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL" and argument not in SAFE_NAMES:
                    name = str(argument).replace(" ", ".")
                    raise Refused(f"it asks for {name} while loading", "tensors only", "Do not trust this file.")
                if opcode.name in NAMING_OPCODES:
                    raise Refused(f"it builds objects ({opcode.name})", "tensors only", "Do not trust this file.")
        except (ValueError, UnicodeError, OverflowError, IndexError) as error:
            raise Refused(f"damaged object data ({error})", "a whole checkpoint", "Fetch it again.") from error


def flatten(checkpoint: Any) -> tuple[dict[str, Any], dict[str, int], int | None]:
    """Tensors of the parts as `<part>.<key>`, how many things every other entry holds, and the epoch."""
    if type(checkpoint) not in (dict, OrderedDict) or not all(type(key) is str for key in checkpoint):
        raise Refused(f"a {type(checkpoint).__name__} at the top", "a dict of parts", "Save the parts' state dicts.")
    tensors: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    epoch = checkpoint.get("epoch")
    for key, value in checkpoint.items():
        if key in PARTS:
            if type(value) not in (dict, OrderedDict) or not all(type(name) is str for name in value):
                raise Refused(f"part {key} is a {type(value).__name__}", "a state dict")
            tensors |= {f"{key}.{name}": tensor for name, tensor in value.items()}
        elif key.removeprefix("module.").split(".", 1)[0] in PARTS:
            tensors[key] = value
        elif key != "epoch":
            left_out[key.split(".", 1)[0]] = len(value) if type(value) in (dict, OrderedDict) else 1
    if not tensors:
        raise Refused(f"none of the parts {', '.join(PARTS)}", "a checkpoint of this family")
    return tensors, left_out, epoch if type(epoch) is int else None


def check_tensors(tensors: dict[str, Any], max_bytes: int) -> None:
    """Every value must be a plain dense tensor on the CPU, all together no more than `max_bytes`."""
    import torch

    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    if len(tensors) > MAX_TENSORS:
        raise Refused(f"{len(tensors)} tensors", f"at most {MAX_TENSORS}")
    total = 0
    for name, tensor in tensors.items():
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            raise Refused(f"{name} is a {type(tensor).__name__}", "a tensor")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise Refused(f"tensor {name} is {tensor.layout}, {tensor.dtype}", "a dense tensor")
        if tensor.dtype not in ((torch.int64,) if name.endswith("num_batches_tracked") else types):
            raise Refused(f"tensor {name} is {tensor.dtype}", "floating numbers")
        total += tensor.numel() * tensor.element_size()
        if total > max_bytes:
            raise Refused(f"more than {max_bytes} bytes up to tensor {name}", "a network of this family")


def describe(tensors: dict[str, Any], with_values: bool) -> dict[str, Any]:
    """Name -> dtype, shape and whether all numbers are finite (None if not asked for)."""
    import torch

    names = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
    return {
        name: {
            "dtype": names[str(tensor.dtype).removeprefix("torch.")],
            "shape": list(tensor.shape),
            "finite": bool(torch.isfinite(tensor).all()) if with_values else None,
        }
        for name, tensor in tensors.items()
    }


def write_tensors(tensors: dict[str, Any], rows: dict[str, Any], path: str) -> None:
    """A safetensors file without metadata, one tensor at a time."""
    import torch

    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in order:
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": rows[name]["dtype"], "shape": rows[name]["shape"], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def read(options: dict[str, Any]) -> dict[str, Any]:
    """Check, load, check again; the answer for the process that asked."""
    with open(options["path"], "rb") as file:
        archive = options["format"] == "zip"
        check_names(check_archive(file) if archive else file.read(MAX_OBJECT_BYTES), 1 if archive else STREAM_OBJECTS)
        limit_memory(None)
        sys.path.extend(folder for folder in options["import_from"] if folder not in sys.path)
        import torch

        torch.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        limit_memory(int(options["memory_bytes"]), final=True)
        forbid({options["report"], options["tensors"]})
        file.seek(0)
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
        except Refused:
            raise
        except Exception as error:  # a damaged file makes torch raise anything
            raise Refused(f"torch cannot read it ({error})", "a whole checkpoint", "Fetch it again.") from error
    tensors, left_out, epoch = flatten(checkpoint)
    check_tensors(tensors, int(options["max_file_bytes"]))
    rows = describe(tensors, with_values=not options["write"])
    if options["write"]:
        write_tensors(tensors, rows, options["tensors"])
    return {"tensors": rows, "left_out": left_out, "epoch": epoch}


def main() -> None:
    """Read the checkpoint that the options name and answer in `report.json`."""
    options = json.loads(sys.argv[1])
    limit_process(options)
    limit_memory(SCAN_MEMORY)
    try:
        answer = read(options)
    except Refused as refusal:
        answer = {"refused": refusal.fields}
    except MemoryError:
        answer = {"refused": {"got": "it needs more memory than allowed", "expected": "", "fix": ""}}
    except Exception as error:  # the boundary of this process: whatever went wrong, the file is refused
        answer = {"refused": {"got": f"{type(error).__name__} while reading it ({error})", "expected": "", "fix": ""}}
    with open(options["report"], "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
