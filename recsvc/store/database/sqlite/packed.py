"""The aggregate ``packed`` of :mod:`recsvc.store.database.sqlite.connection`, compiled.

It is written against SQLite's C interface (https://sqlite.org/c3ref/funclist.html), pointers being
plain integers. Its state is a few words that SQLite keeps for each group: a string under
construction, to which rows are appended, whether all was well, and the row at hand.
"""

import ctypes
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # the one is not in its __all__

from recsvc.runtime.compiled import c_function
from recsvc.store.database.sqlite.library import python_library

_INTEGER, _REAL, _TEXT = 1, 2, 3  # https://sqlite.org/c3ref/c_blob.html
_NO_MEMORY, _MISMATCH = 7, 20  # https://sqlite.org/rescode.html
_UTF8, _DETERMINISTIC = 0x1, 0x800  # https://sqlite.org/c3ref/c_deterministic.html
_COPY = np.uint64(2**64 - 1)  # https://sqlite.org/c3ref/c_static.html
_ANY_NUMBER, _MOST_ARGUMENTS = -1, 127  # of arguments

_STRING, _REFUSED, _ROW = 0, 1, 2  # the words of the state; a row takes the rest
_N_WORDS = _ROW + _MOST_ARGUMENTS

_external: Any = types.ExternalFunction
_pointer_to: Any = types.CPointer
_Pointer = types.uintp
_INTERFACE = {
    "sqlite3_aggregate_context": _pointer_to(types.int64)(_Pointer, types.intc),
    "sqlite3_value_type": types.intc(_Pointer),
    "sqlite3_value_int64": types.int64(_Pointer),
    "sqlite3_value_double": types.float64(_Pointer),
    "sqlite3_value_text": _Pointer(_Pointer),
    "sqlite3_value_bytes": types.intc(_Pointer),
    "sqlite3_str_new": _Pointer(_Pointer),
    "sqlite3_str_append": types.void(_Pointer, _Pointer, types.intc),
    "sqlite3_str_appendchar": types.void(_Pointer, types.intc, types.int8),
    "sqlite3_str_errcode": types.intc(_Pointer),
    "sqlite3_str_length": types.intc(_Pointer),
    "sqlite3_str_finish": _Pointer(_Pointer),
    "sqlite3_free": types.void(_Pointer),
    "sqlite3_result_blob64": types.void(_Pointer, _Pointer, types.uint64, _Pointer),
    "sqlite3_result_error_code": types.void(_Pointer, types.intc),
}
(
    _aggregate_context,
    _value_type,
    _value_int64,
    _value_double,
    _value_text,
    _value_bytes,
    _str_new,
    _str_append,
    _str_appendchar,
    _str_errcode,
    _str_length,
    _str_finish,
    _free,
    _result_blob64,
    _result_error_code,
) = (_external(name, signature) for name, signature in _INTERFACE.items())


_library = python_library()
for _name in _INTERFACE:
    llvm.add_symbol(_name, ctypes.cast(getattr(_library, _name), ctypes.c_void_p).value)


@c_function(types.void(_Pointer, types.intc, _pointer_to(_Pointer)))
def _step(context: Any, n_values: Any, values: Any) -> None:
    """Append a row to the group's string."""
    state = carray(_aggregate_context(context, 8 * _N_WORDS), _N_WORDS)
    if state.ctypes.data == 0:
        _result_error_code(context, _NO_MEMORY)
        return
    if n_values > _MOST_ARGUMENTS:
        state[_REFUSED] = 1
        n_values = 0
    if state[_STRING] == 0:
        state[_STRING] = np.int64(_str_new(0))
    string, row = np.uint64(state[_STRING]), state[_ROW:]
    n_words = 0
    for place in range(n_values):
        value = carray(values, n_values)[place]
        kind = _value_type(value)
        if kind == _REAL:
            row.view(np.float64)[n_words] = _value_double(value)
        elif kind == _INTEGER:
            row[n_words] = _value_int64(value)
        elif kind == _TEXT:
            text = _value_text(value)
            length = _value_bytes(value)
            row[n_words] = length
            _str_append(string, row.ctypes.data, np.int32(8 * n_words + 8))
            _str_append(string, text, length)
            _str_appendchar(string, -length % 8, np.int8(0))
            n_words = -1
        else:
            state[_REFUSED] = 1
        n_words += 1
    _str_append(string, row.ctypes.data, np.int32(8 * n_words))


@c_function(types.void(_Pointer))
def _finish(context: Any) -> None:
    """Return the group's string as a blob, or NULL for no rows, whose state SQLite has zeroed."""
    state = carray(_aggregate_context(context, 8 * _N_WORDS), _N_WORDS)
    if state.ctypes.data == 0 or state[_STRING] == 0:
        return
    string = np.uint64(state[_STRING])
    error = _MISMATCH if state[_REFUSED] else _str_errcode(string)
    length = np.uint64(_str_length(string))
    text = _str_finish(string)
    if error:
        _result_error_code(context, error)
    else:
        _result_blob64(context, text, length, _COPY)
    _free(text)


def add_compiled(handle: int) -> None:
    """Give a connection, by its address in SQLite, the aggregate.

    Raises:
        RuntimeError: SQLite refuses.
    """
    create = _library.sqlite3_create_function_v2
    pointers = [ctypes.c_void_p] * 5
    create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, *pointers]
    kind = _UTF8 | _DETERMINISTIC
    functions = (_step.address, _finish.address, None)
    error = create(handle, b"packed", _ANY_NUMBER, kind, None, None, *functions)
    if error:
        raise RuntimeError(f"SQLite does not take the aggregate packed: error {error}")
