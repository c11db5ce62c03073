# SPDX-License-Identifier: Apache-2.0
"""The Test Anything Protocol: ok(), same(), skip(), and done() at the end.

A program that ends by an exception gets a failing line of its own, so nothing dies unseen.
"""
import os
import sys
import threading
import traceback

_count = 0
_failed = 0
_lock = threading.Lock()


def _line(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text):
    for part in str(text).splitlines():
        _line("# " + part)


def ok(condition, name, detail=None):
    """One assertion. `detail` (or what it returns) is printed when it fails."""
    global _count, _failed
    with _lock:
        _count += 1
        name = str(name).replace("#", "\\#").replace("\n", " ")
        _line(f"{'ok' if condition else 'not ok'} {_count} - {name}")
        if not condition:
            _failed += 1
            caller = sys._getframe(1)
            while caller.f_back and caller.f_code.co_filename == __file__:
                caller = caller.f_back
            note(f"failed at {os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}")
            if detail is not None:
                note(detail() if callable(detail) else detail)
    return bool(condition)


def same(got, want, name):
    return ok(got == want, name, f" got {_short(got)}\nwant {_short(want)}")


def skip(name, reason):
    global _count
    with _lock:
        _count += 1
        _line(f"ok {_count} - {name} # SKIP {reason}")


def skip_all(reason):
    _line(f"1..0 # SKIP {reason}")
    sys.exit(0)


def _short(value, limit=1500):
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"


def run(*parts):
    """Runs the given functions as the test program. An exception fails its part, the next ones go on."""
    code = 0
    for part in parts:
        try:
            part()
        except SystemExit:
            raise
        except BaseException as e:  # noqa: B036 - KeyboardInterrupt must be reported as well
            ok(False, f"{part.__name__} ended by {type(e).__name__}", traceback.format_exc())
            if isinstance(e, KeyboardInterrupt):
                code = 130
                break
    _line(f"1..{_count}")
    sys.exit(code or (1 if _failed else 0))


def together(*parts):
    """One part that runs the given ones side by side, each in a thread."""
    def side_by_side():
        def guarded(part):
            try:
                part()
            except Exception as e:
                ok(False, f"{part.__name__} ended by {type(e).__name__}", traceback.format_exc())
        threads = [threading.Thread(target=guarded, args=(part,)) for part in parts]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return [side_by_side]


def failed():
    return _failed
