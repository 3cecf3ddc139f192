"""Makes the filters of libseccomp for lists, for a test: a list of lists as JSON comes from
standard input, and for each list a line of instructions in hexadecimal goes to standard
output. It needs only the library, not its headers."""

import collections
import ctypes
import json
import os
import sys

LIBRARY = ctypes.CDLL("libseccomp.so.2")
LIBRARY.seccomp_init.restype = ctypes.c_void_p
ACTIONS = {
    "KILL": 0, "KILL_THREAD": 0, "KILL_PROCESS": 0x80000000, "TRAP": 0x30000,
    "ERRNO": 0x50000, "TRACE": 0x7FF00000, "LOG": 0x7FFC0000, "ALLOW": 0x7FFF0000,
}
OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
ARCHITECTURES = {
    "X86": 0x40000003, "X86_64": 0xC000003E, "X32": 0x4000003E,
    "ARM": 0x40000028, "AARCH64": 0xC00000B7,
}


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int),
                ("first", ctypes.c_uint64), ("second", ctypes.c_uint64)]


def answer(action, errno):
    name = action.removeprefix("SCMP_ACT_")
    return ACTIONS[name] | ((1 if errno is None else errno) if name in ("ERRNO", "TRACE") else 0)


def comparison(argument):
    operator = OPERATORS.index(argument["op"].removeprefix("SCMP_CMP_")) + 1
    index, first = argument.get("index", 0), argument.get("value", 0)
    return Comparison(index, operator, first, argument.get("valueTwo", 0))


def made(config):
    default = answer(config["defaultAction"], config.get("defaultErrnoRet"))
    context = ctypes.c_void_p(LIBRARY.seccomp_init(ctypes.c_uint32(default)))
    for name in config.get("architectures", []):
        LIBRARY.seccomp_arch_add(context, ARCHITECTURES[name.removeprefix("SCMP_ARCH_")])
    for rule in config.get("syscalls", []):
        action = answer(rule["action"], rule.get("errnoRet"))
        conditions = [comparison(it) for it in rule.get("args", [])]
        counts = collections.Counter(it.argument for it in conditions)
        apart = any(count > 1 for count in counts.values())
        groups = [[it] for it in conditions] if apart else [conditions]
        for name in rule["names"]:
            number = LIBRARY.seccomp_syscall_resolve_name(name.encode())
            for group in groups:
                array = (Comparison * len(group))(*group)
                # It refuses the answer that is the default.
                if number != -1 and action != default:
                    LIBRARY.seccomp_rule_add_array(
                        context, ctypes.c_uint32(action), number, len(group), array)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(-LIBRARY.seccomp_export_bpf(context, writer))
    os.close(writer)
    program = b""
    while part := os.read(reader, 65536):
        program += part
    os.waitpid(child, 0)
    return program.hex()


for one in json.load(sys.stdin):
    print(made(one))
