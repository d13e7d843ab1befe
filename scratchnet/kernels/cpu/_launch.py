"""Running one compiled kernel on several threads.

Numba's own way, parallel=True on each kernel, compiles a kernel three times over and takes many seconds for the large
ones. Here only a *launcher* is compiled for each kernel, a few instructions: it hands an *entry* to the thread pool
that Numba's parallel loops run on, and the entry, on each thread, fetches the kernel's arguments from the caller's
stack and calls the kernel's code, which is there already, compiled for one thread.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()

# numba_parallel_for(entry, arrays, sizes, steps, data, inner sizes, number of arrays, threads), of Numba's thread pool,
# calls entry(arrays, sizes, steps, data) on the threads for shares of sizes[0] items; arrays point to a share's first.
_POOL = ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [I64] * 3)
_ENTRY = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64.as_pointer(), I64.as_pointer(), _BYTES])


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
        entry, place = ir.Function(builder.module, _ENTRY, "entry"), cgutils.alloca_once_value(builder, args[2])
        entry.linkage = "internal"
        # The items are t = 0 … threads − 1: an "array" at address 0 with items of one byte, so that the address of
        # item t is t. The second size, one that is not divided, tells each entry how many there are in all.
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        arrays, steps = (cgutils.alloca_once_value(builder, value) for value in (zero, one))
        sizes = cgutils.alloca_once_value(builder, cgutils.pack_array(builder, [args[1], args[1]]))
        pointers = [builder.bitcast(p, _BYTES) for p in (entry, arrays, sizes, steps, place)]
        pool = cgutils.get_or_insert_function(builder.module, _POOL, "numba_parallel_for")
        builder.call(pool, [*pointers, one, one, args[1]])

        inside = ir.IRBuilder(entry.append_basic_block())
        arrays, sizes, _, data = entry.args
        first, count = inside.load(arrays), inside.load(sizes)
        threads = inside.load(inside.gep(sizes, [one]))
        values = cgutils.unpack_tuple(inside, inside.load(inside.bitcast(data, place.type)))
        with cgutils.for_range(inside, count) as loop:
            t = inside.add(first, loop.index)
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
        arguments = tuple(kinds[1])
        serial.compile((types.int64, types.int64, *arguments))
        publish(_symbol(name, arguments), serial.overloads[(types.int64, types.int64, *arguments)])
        return compile_types(kinds)

    launch.compile = publish_and_compile
    return launch
