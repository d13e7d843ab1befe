"""Running one compiled kernel on several threads.

Numba's own way, parallel=True on each kernel, compiles a kernel three times over and takes many seconds for the large
ones. Here one function is compiled that way, once: `_on_threads`, a parallel loop that calls a function by its address.
What it calls is an *entry*, a few instructions that fetch the kernel's arguments from the caller's stack and call the
kernel's code, which is there already, compiled for one thread.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)
ON_THREADS = "scratchnet.on_threads"
_ENTRY = ir.FunctionType(ir.VoidType(), [I64, I64, I64])  # (t, threads, address of the arguments)


@intrinsic
def _call_entry(typing_context, entry, t, threads, arguments):
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.inttoptr(args[0], _ENTRY.as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _on_threads(entry, threads, arguments):
    for t in prange(threads):
        _call_entry(entry, t, threads, arguments)


def publish(name: str, compiled: Any) -> None:
    """Let other compiled code call this one (a CompileResult of Numba) by name."""
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(name, address)


def _call_published(context: Any, builder: Any, name: str, kinds: tuple[Any, ...], values: list[Any]) -> None:
    kind = context.call_conv.get_function_type(types.none, kinds)
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    context.call_conv.call_function(builder, function, types.none, kinds, values)


def _symbol(name: str, kinds: tuple[Any, ...]) -> str:
    return f"{name}_{'_'.join(map(str, kinds))}"


@intrinsic(prefer_literal=True)
def _launch(typing_context, name, threads, arguments):
    """Call the published kernel of that name on the threads, with the tuple `arguments`."""
    kinds = tuple(arguments)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entry = ir.Function(builder.module, _ENTRY, "entry")
        entry.linkage = "internal"
        place = cgutils.alloca_once_value(builder, args[2])
        values = [builder.ptrtoint(entry, I64), args[1], builder.ptrtoint(place, I64)]
        _call_published(context, builder, ON_THREADS, (types.int64,) * 3, values)

        inside = ir.IRBuilder(entry.append_basic_block())
        t, threads, address = entry.args
        values = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(address, place.type)))
        all_kinds = (types.int64, types.int64, *kinds)
        _call_published(context, inside, _symbol(name.literal_value, kinds), all_kinds, [t, threads, *values])
        inside.ret_void()
        return context.get_dummy_value()

    return types.void(name, types.int64, arguments), generate


def launcher(serial: Any, compile_: Callable[..., Any]) -> Any:
    """A compiled function (threads, *arguments) that calls serial(t, threads, *arguments) for each t < threads.

    compile_(function, kind) compiles a Python function and caches it.
    """
    function = serial.py_func
    name = f"{function.__module__}.{function.__name__}"
    # The text is the same for all but for the name. Numba files what it caches by source file and line.
    text = "\n" * (function.__code__.co_firstlineno - 1)
    text += f"def {function.__name__}(threads, *arguments):\n    _launch({name!r}, threads, arguments)\n"
    namespace: dict[str, Any] = {"_launch": _launch, "__name__": function.__module__}
    exec(compile(text, function.__code__.co_filename, "exec"), namespace)
    launch = compile_(namespace[function.__name__], "parallel")
    compile_types = launch.compile

    def publish_and_compile(kinds: tuple[Any, ...]) -> Any:  # Numba calls it for every new combination of types
        _publish_on_threads(compile_)
        arguments = tuple(kinds[1])
        serial.compile((types.int64, types.int64, *arguments))
        publish(_symbol(name, arguments), serial.overloads[(types.int64, types.int64, *arguments)])
        return compile_types(kinds)

    launch.compile = publish_and_compile
    return launch


@functools.cache
def _publish_on_threads(compile_: Callable[..., Any]) -> None:
    compiled = compile_(_on_threads, "threads", parallel=True)
    kinds = (types.int64,) * 3
    compiled.compile(kinds)
    publish(ON_THREADS, compiled.overloads[kinds])
